"""The values that are known when a test is read and not run."""

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST = 1000
"""Elements of a list that reading makes: a test's source is not to exhaust the memory."""

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.BitOr: operator.or_,
}
_COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}
_CALLED: dict[str, Callable[..., Any]] = {
    one.__name__: one
    for one in (abs, dict, float, int, len, list, max, min, round, set, sorted, str, sum, tuple)
}
_METHODS: dict[type, tuple[str, ...]] = {
    str: ("replace", "startswith", "endswith", "partition", "removeprefix", "removesuffix"),
    dict: ("items", "keys", "values"),
}
_FAILS = (TypeError, ValueError, ArithmeticError, LookupError)


class Unknown:
    """The value of what cannot be known without running the test."""

    def __repr__(self) -> str:
        return "<unknown>"


UNKNOWN = Unknown()


@dataclass(frozen=True)
class AuditValue:
    """The audit, as a test has it.

    Attributes:
        known: its attributes that are known, by name.
    """

    known: Mapping[str, Any]


@dataclass(frozen=True)
class Method:
    """A method of the audit, by its name."""

    name: str
    of: AuditValue


def is_plain(value: object) -> bool:
    """Whether a value is a number, a text, None, or a small container of such."""
    if value is None or type(value) in {bool, int, float, str}:
        return True
    if isinstance(value, dict):
        return len(value) <= MOST and all(map(is_plain, [*value, *value.values()]))
    if isinstance(value, (list, tuple, set, frozenset)):
        return len(value) <= MOST and all(map(is_plain, value))
    return False


def computed(kind: ast.operator, left: Any, right: Any) -> Any:
    """The value of an operation on numbers, of a sum of texts or lists, or of dictionaries joined."""
    apply = _BINARY.get(type(kind))
    numbers = all(type(one) in {int, float, bool} for one in (left, right))
    if apply is None or not (numbers or isinstance(kind, (ast.Add, ast.BitOr))):
        return UNKNOWN
    if not (is_plain(left) and is_plain(right)):
        return UNKNOWN
    return _tried(apply, left, right)


def compared(kinds: Sequence[ast.cmpop], values: Sequence[Any]) -> Any:
    """The value of a chain of comparisons."""
    if not all(map(is_plain, values)):
        return UNKNOWN
    for at, kind in enumerate(kinds):
        found = _tried(_COMPARED[type(kind)], values[at], values[at + 1])
        if isinstance(found, Unknown) or not found:
            return found
    return True


def called(name: str, given: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """The value of a call of a builtin function that does nothing but compute."""
    if not all(map(is_plain, [*given, *named.values()])):
        return UNKNOWN
    if name == "range":
        numbers = _tried(range, *given)
        return list(numbers) if isinstance(numbers, range) and len(numbers) <= MOST else UNKNOWN
    apply = _CALLED.get(name)
    return UNKNOWN if apply is None else _tried(apply, *given, **named)


def method_called(value: Any, name: str, given: Sequence[Any]) -> Any:
    """The value of a call of a method of a text or a dictionary that does nothing but compute."""
    if not all(map(is_plain, [value, *given])) or name not in _METHODS.get(type(value), ()):
        return UNKNOWN
    found = _tried(getattr(value, name), *given)
    if isinstance(found, str):
        return found if len(found) <= MOST else UNKNOWN
    return found if isinstance(found, (bool, Unknown)) or type(value) is str else list(found)


def item(value: Any, key: Any) -> Any:
    """An element of a container."""
    if not (is_plain(value) and is_plain(key)):
        return UNKNOWN
    return _tried(operator.getitem, value, key)


def _tried(apply: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """What a function of plain values returns; unknown where it fails, as the test then would."""
    try:
        return apply(*given, **named)
    except _FAILS:
        return UNKNOWN
