"""Follows the source of a test from statement to statement, and notes the methods of the audit it calls.

Nothing of the test is run. What it would compute is followed as far as it is plain: constants, names of
the module, parameters, arithmetic, loops over lists that are known, functions of the same module. Of a
condition that is not known both sides are followed.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import singledispatchmethod
from types import FunctionType
from typing import Any

from pytest_injectivity.plugin.reading import values
from pytest_injectivity.plugin.reading.values import UNKNOWN, AuditValue, Method, Unknown

_DEEPEST = 8
"""Functions that call one another are followed so deep."""

_MOST_STEPS = 20_000
"""Statements followed in one test."""


@dataclass(frozen=True)
class Noted:
    """A call of a method of the audit.

    Attributes:
        method: its name.
        given: the values of its arguments by position, `UNKNOWN` among them.
        named: those by name.
    """

    method: str
    given: tuple[Any, ...]
    named: Mapping[str, Any]


@dataclass
class Reader:
    """Follows functions, and notes what they call of the audit.

    Attributes:
        noted: the calls so far.
        steps: statements followed so far.
    """

    noted: list[Noted] = field(default_factory=list)
    steps: int = 0

    def follow(self, function: Callable[..., Any], given: Mapping[str, Any], depth: int = 0) -> Any:
        """Follow a function, and give what it returns as far as that is known.

        Args:
            function: a function of Python's.
            given: the values of its arguments by name.
            depth: how many functions are being followed already.
        """
        function = inspect.unwrap(function)
        if not isinstance(function, FunctionType) or depth > _DEEPEST:
            return UNKNOWN
        tree = _tree(function)
        if tree is None:
            return UNKNOWN
        return _Body(self, function, dict(given), depth).run(tree.body)


def _tree(function: FunctionType) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """The source of a function; None where there is none, as of a lambda or of a notebook's cell."""
    try:
        parsed = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return None
    found = parsed.body[0] if parsed.body else None
    return found if isinstance(found, (ast.FunctionDef, ast.AsyncFunctionDef)) else None


class _Body:
    """Follows the body of one function."""

    def __init__(
        self, reader: Reader, function: FunctionType, known: dict[str, Any], depth: int
    ) -> None:
        self._reader = reader
        self._function = function
        self._known = known
        self._depth = depth
        self._returned: Any = UNKNOWN

    def run(self, statements: Sequence[ast.stmt]) -> Any:
        """Follow statements; gives what the function returns, or yields as a fixture."""
        self._follow(statements)
        return self._returned

    def _follow(self, statements: Sequence[ast.stmt]) -> None:
        for one in statements:
            self._reader.steps += 1
            if self._reader.steps > _MOST_STEPS:
                return
            self._statement(one)

    @singledispatchmethod
    def _statement(self, one: ast.stmt) -> None:
        """Follow a statement; those of no special kind (with, try, assert) part by part."""
        self._parts(one)

    @_statement.register
    def _(self, one: ast.Return) -> None:
        self._returned = UNKNOWN if one.value is None else self._value(one.value)

    @_statement.register
    def _(self, one: ast.Assign) -> None:
        found = self._value(one.value)
        for target in one.targets:
            self._bind(target, found)

    @_statement.register
    def _(self, one: ast.AnnAssign) -> None:
        if one.value is not None:
            self._bind(one.target, self._value(one.value))

    @_statement.register
    def _(self, one: ast.AugAssign) -> None:
        found = self._value(one.value)
        if isinstance(one.target, ast.Name):
            known = self._known.get(one.target.id, UNKNOWN)
            self._known[one.target.id] = values.computed(one.op, known, found)

    @_statement.register
    def _(self, one: ast.For) -> None:
        for found in self._elements(one.iter):
            self._bind(one.target, found)
            self._follow(one.body)
        self._follow(one.orelse)

    @_statement.register
    def _(self, one: ast.If) -> None:
        known = self._value(one.test)
        if isinstance(known, Unknown) or known:
            self._follow(one.body)
        if isinstance(known, Unknown) or not known:
            self._follow(one.orelse)

    @_statement.register(ast.FunctionDef)
    @_statement.register(ast.AsyncFunctionDef)
    @_statement.register(ast.ClassDef)
    def _(self, one: ast.stmt) -> None:
        """What is defined inside a test may never be called."""

    def _parts(self, one: ast.AST) -> None:
        """Follow the parts of a node."""
        for child in ast.iter_child_nodes(one):
            if isinstance(child, ast.stmt):
                self._follow([child])
            elif isinstance(child, ast.expr):
                self._value(child)
            else:
                self._parts(child)

    def _elements(self, iterable: ast.expr) -> Iterator[Any]:
        """The values a loop goes through; one unknown value where they are not known."""
        found = self._value(iterable)
        if isinstance(found, (list, tuple, dict, set)):
            yield from list(found)
        else:
            yield UNKNOWN

    def _bind(self, target: ast.expr, found: Any) -> None:
        if isinstance(target, ast.Name):
            self._known[target.id] = found
        elif isinstance(target, (ast.Tuple, ast.List)):
            known = isinstance(found, (list, tuple)) and len(found) == len(target.elts)
            parts = found if known else [UNKNOWN] * len(target.elts)
            for one, part in zip(target.elts, parts, strict=True):
                self._bind(one, part)

    @singledispatchmethod
    def _value(self, one: ast.expr) -> Any:
        """The value of an expression; unknown where it is of no kind below, whose parts are followed."""
        self._parts(one)
        return UNKNOWN

    @_value.register
    def _(self, one: ast.Constant) -> Any:
        return one.value

    @_value.register
    def _(self, one: ast.Name) -> Any:
        return self._named(one.id)

    @_value.register
    def _(self, one: ast.Tuple) -> Any:
        found = self._listed(one.elts)
        return found if isinstance(found, Unknown) else tuple(found)

    @_value.register(ast.List)
    @_value.register(ast.Set)
    def _(self, one: ast.List | ast.Set) -> Any:
        return self._listed(one.elts)

    @_value.register
    def _(self, one: ast.Dict) -> Any:
        return self._dictionary(one.keys, one.values)

    @_value.register
    def _(self, one: ast.UnaryOp) -> Any:
        known = self._value(one.operand)
        if isinstance(one.op, ast.USub):
            return values.computed(ast.Sub(), 0, known)
        return not known if isinstance(one.op, ast.Not) and values.is_plain(known) else UNKNOWN

    @_value.register
    def _(self, one: ast.BinOp) -> Any:
        return values.computed(one.op, self._value(one.left), self._value(one.right))

    @_value.register
    def _(self, one: ast.Compare) -> Any:
        return values.compared(one.ops, [self._value(one.left), *map(self._value, one.comparators)])

    @_value.register
    def _(self, one: ast.Subscript) -> Any:
        return values.item(self._value(one.value), self._value(one.slice))

    @_value.register
    def _(self, one: ast.JoinedStr) -> Any:
        found = [
            self._value(part.value if isinstance(part, ast.FormattedValue) else part)
            for part in one.values
        ]
        return "".join(map(str, found)) if all(map(values.is_plain, found)) else UNKNOWN

    @_value.register
    def _(self, one: ast.Attribute) -> Any:
        value = self._value(one.value)
        if not isinstance(value, AuditValue):
            return UNKNOWN
        return value.known[one.attr] if one.attr in value.known else Method(one.attr, value)

    @_value.register
    def _(self, one: ast.Yield) -> Any:
        self._returned = UNKNOWN if one.value is None else self._value(one.value)
        return UNKNOWN

    @_value.register
    def _(self, _one: ast.Lambda) -> Any:
        """What a lambda holds may never be called."""
        return UNKNOWN

    @_value.register
    def _(self, one: ast.Call) -> Any:
        function = self._value(one.func)
        given, named = self._arguments(one)
        if isinstance(function, Method):
            self._reader.noted.append(Noted(function.name, tuple(given), named))
            return function.of if function.name == "in_precision" else UNKNOWN
        if isinstance(function, FunctionType):
            return self._own_function(function, given, named)
        if isinstance(one.func, ast.Name) and one.func.id not in self._known:
            return values.called(one.func.id, given, named)
        if isinstance(one.func, ast.Attribute) and not named:
            return values.method_called(self._value(one.func.value), one.func.attr, given)
        return UNKNOWN

    @_value.register(ast.ListComp)
    @_value.register(ast.GeneratorExp)
    def _(self, one: ast.ListComp | ast.GeneratorExp) -> Any:
        return self._comprehended([one.elt], one.generators)

    @_value.register
    def _(self, one: ast.SetComp) -> Any:
        found = self._comprehended([one.elt], one.generators)
        hashable = isinstance(found, list) and all(type(each) in {int, str} for each in found)
        return list(dict.fromkeys(found)) if hashable else found

    @_value.register
    def _(self, one: ast.DictComp) -> Any:
        self._comprehended([one.key, one.value], one.generators)
        return UNKNOWN

    def _named(self, name: str) -> Any:
        if name in self._known:
            return self._known[name]
        found = self._function.__globals__.get(name, UNKNOWN)
        return found if values.is_plain(found) or isinstance(found, FunctionType) else UNKNOWN

    def _dictionary(self, keys: Sequence[ast.expr | None], parts: Sequence[ast.expr]) -> Any:
        found: dict[Any, Any] = {}
        whole = True
        for key, part in zip(keys, parts, strict=True):
            name, value = UNKNOWN if key is None else self._value(key), self._value(part)
            if type(name) in {str, int, bool}:
                found[name] = value
            else:
                whole = False
        return found if whole else UNKNOWN

    def _listed(self, parts: Sequence[ast.expr]) -> Any:
        """The elements of a list; unknown where how many they are is."""
        found: list[Any] = []
        whole = True
        for part in parts:
            if isinstance(part, ast.Starred):
                several = self._value(part.value)
                whole = whole and isinstance(several, (list, tuple))
                found += several if isinstance(several, (list, tuple)) else []
            else:
                found.append(self._value(part))
        return found if whole else UNKNOWN

    def _arguments(self, one: ast.Call) -> tuple[list[Any], dict[str, Any]]:
        given = []
        for part in one.args:
            starred = isinstance(part, ast.Starred)
            found = self._value(part.value if isinstance(part, ast.Starred) else part)
            given += list(found) if starred and isinstance(found, (list, tuple)) else [found]
        named: dict[str, Any] = {}
        for keyword in one.keywords:
            found = self._value(keyword.value)
            if keyword.arg is not None:
                named[keyword.arg] = found
            elif isinstance(found, dict):
                named |= found
        return given, named

    def _own_function(
        self, function: FunctionType, given: Sequence[Any], named: Mapping[str, Any]
    ) -> Any:
        """Follow a function of the test's own module; those of others may do anything."""
        if function.__module__ != self._function.__module__:
            return UNKNOWN
        try:
            bound = inspect.signature(function).bind(*given, **named)
        except TypeError:
            return UNKNOWN
        bound.apply_defaults()
        return self._reader.follow(function, bound.arguments, self._depth + 1)

    def _comprehended(
        self, parts: Sequence[ast.expr], generators: Sequence[ast.comprehension]
    ) -> Any:
        """Follow each element of a comprehension over lists; with a condition, one unknown element."""
        if any(one.ifs for one in generators):
            for one in generators:
                self._bind(one.target, UNKNOWN)
            for part in parts:
                self._value(part)
            return UNKNOWN
        found: list[Any] = []
        self._gathered(parts, generators, found)
        return found if len(found) <= values.MOST else UNKNOWN

    def _gathered(
        self,
        parts: Sequence[ast.expr],
        generators: Sequence[ast.comprehension],
        found: list[Any],
    ) -> None:
        """Follow the parts for each element of the first list, and of those inside it."""
        if not generators:
            found.append([self._value(part) for part in parts][-1])
            return
        for element in self._elements(generators[0].iter):
            if len(found) > values.MOST:
                return
            self._bind(generators[0].target, element)
            self._gathered(parts, generators[1:], found)
