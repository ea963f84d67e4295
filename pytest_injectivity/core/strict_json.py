"""The codec between dataclasses and JSON, for everything that travels between processes or is stored.

`plain` turns a dataclass into JSON data and `build` turns the data back into the dataclass, with cattrs.
Data from outside is read strictly: files of a limited size, no repeated key, no unknown key, no NaN, and
every value of the type that its field declares; values that cattrs would convert (``"5"`` to 5) are
refused. An error is one line that names the field (``layers[0].n``), quotes the value and says what is
accepted.

A float that is not finite is written as a text (``"nan"``), because JSON has none. A dataclass may
declare three things: a mapping field with ``metadata={"flat": True}`` has its entries among the
object's own keys, a field with ``metadata={"json": False}`` is left out, and ``derived``, a class
variable, names properties that are written and not read.
"""

import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin

from cattrs import Converter
from cattrs.cols import (
    homogenous_tuple_structure_factory,
    is_mapping,
    is_sequence,
    list_structure_factory,
    mapping_structure_factory,
)
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ForbiddenExtraKeysError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from pytest_injectivity.core.text import one_line
from pytest_injectivity.errors import OptionError

LARGEST = 16 * 2**20
"""The largest file read, in bytes; a report of 100 layers at 8 numbers of bits is under one MiB."""

T = TypeVar("T")

_HIGHEST = sys.float_info.max
_SHORT = 60
_NOT_FINITE = ("nan", "inf", "-inf")
_ACCEPTED: dict[type, str] = {
    bool: "neither true nor false",
    int: "no whole number",
    float: "no number",
    str: "no text",
    NoneType: "not null",
}


def plain(value: object) -> Any:
    """Turn a dataclass, or lists and mappings of dataclasses, into JSON data."""
    return _converter().unstructure(value)


def build(kind: type[T], value: object, name: str = "it") -> T:
    """Build the dataclass that JSON data describes.

    Args:
        kind: the dataclass built.
        value: JSON data.
        name: what an error calls the data.

    Raises:
        OptionError: a key is unknown, missing or has a value of another type.
    """
    try:
        return _converter().structure(value, kind)
    except (BaseValidationError, OptionError) as error:
        raise OptionError(_first_line(error, name)) from None


def dumps(value: object) -> str:
    """Write a dataclass as a JSON text."""
    return json.dumps(plain(value), allow_nan=False)


def loads(kind: type[T], text: str, name: str = "it") -> T:
    """Read the dataclass from a text that `dumps` wrote.

    Raises:
        OptionError: the text is no JSON, or describes something else.
    """
    return build(kind, _parsed(text), name)


def read_object(path: Path, *, not_finite: bool = False) -> dict[str, Any]:
    """Read the JSON object that a file holds.

    Args:
        path: of the file.
        not_finite: read ``NaN`` and infinities, which are no JSON, as floats.

    Raises:
        OptionError: there is no such file, it is too large or damaged, or it holds something else.
    """
    found = read_any(path, not_finite=not_finite)
    if not isinstance(found, dict):
        raise OptionError(f"it is {said(found)}, which is no JSON object")
    return found


def read_any(path: Path, *, not_finite: bool = False) -> Any:
    """Read what a JSON file holds, an object or anything else.

    Args:
        path: of the file.
        not_finite: as of `read_object`.

    Raises:
        OptionError: there is no such file, or it is too large or damaged.
    """
    try:
        if not path.is_file():
            raise OptionError("there is no such file")
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise OptionError(f"it cannot be read ({error.strerror or type(error).__name__})") from None
    if len(content) > LARGEST:
        raise OptionError(f"it has more than {LARGEST:,} bytes")
    return _parsed(content, float if not_finite else _refuse)


def said(value: object) -> str:
    """Quote a value for a message; lists and objects are named by their kind only."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    if isinstance(value, int) and abs(value) > _HIGHEST:
        return "an integer beyond all floats"
    return one_line(repr(value), _SHORT)


def _parsed(text: str | bytes, constant: Callable[[str], float] | None = None) -> Any:
    try:
        return json.loads(
            text, parse_constant=constant or _refuse, object_pairs_hook=_without_twins
        )
    except (ValueError, RecursionError) as error:
        raise OptionError(f"it is damaged, cut short or no JSON ({one_line(str(error))})") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of the pairs; a repeated key, as after a merge, is refused."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} is there twice")
        found[name] = value
    return found


@cache
def _converter() -> Converter:
    converter = Converter(
        detailed_validation=True,
        forbid_extra_keys=True,
        unstruct_collection_overrides={tuple: list},
    )
    converter.register_unstructure_hook(StrEnum, str)
    for scalar in (bool, int, str):
        converter.register_structure_hook(scalar, _exactly)
    converter.register_structure_hook(float, _number)
    converter.register_unstructure_hook(float, _unstructured_float)
    checked = ((is_mapping, mapping_structure_factory, dict), (is_sequence, _sequence, list))
    for predicate, factory, accepted in checked:
        converter.register_structure_hook_factory(predicate, _only_of(factory, accepted))
    converter.register_structure_hook_factory(_is_union, _union_factory)
    converter.register_structure_hook_func(_is_literal, _one_of)
    converter.register_structure_hook(StrEnum, _one_of)
    converter.register_structure_hook_factory(is_dataclass, _structure_factory)
    converter.register_unstructure_hook_factory(is_dataclass, _unstructure_factory)
    return converter


def _exactly(value: object, kind: type) -> Any:
    """Accept a value of exactly this type: a bool is no int, and a text no number."""
    too_large = isinstance(value, int) and abs(value) > _HIGHEST
    if type(value) is kind and not too_large:
        return value
    raise OptionError(f" is {said(value)}, which is {_ACCEPTED[kind]}")


def _number(value: object, _: type) -> float:
    """Accept a number: integers stay integers, and numbers that are not finite are texts."""
    if isinstance(value, str) and value in _NOT_FINITE:
        return float(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _HIGHEST:
        return value
    raise OptionError(f" is {said(value)}, which is {_ACCEPTED[float]}")


def _unstructured_float(value: float) -> float | str:
    return value if isinstance(value, int) or math.isfinite(value) else str(value)


def _sequence(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    """The structure hook of ``tuple[T, ...]`` and ``list[T]``."""
    if get_origin(kind) is tuple:
        return homogenous_tuple_structure_factory(kind, converter)
    return list_structure_factory(kind, converter)


def _only_of(factory: Callable[..., Any], accepted: type) -> Callable[..., Any]:
    """Restrict a factory's hook, which converts any iterable, to JSON lists or to JSON objects."""
    wanted = "no list" if accepted is list else "no JSON object"

    def made(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
        hook = factory(kind, converter)

        def structure(value: object, _: Any) -> Any:
            if not isinstance(value, accepted):
                raise OptionError(f" is {said(value)}, which is {wanted}")
            return hook(value, kind)

        return structure

    return made


def _is_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _one_of(value: object, kind: Any) -> Any:
    """Accept one of the values of an enumeration or a ``Literal``."""
    members = get_args(kind) or tuple(kind)
    for member in members:
        if type(value) is str and value == member:
            return member
    raise OptionError(f" is {said(value)}, which is none of {', '.join(map(str, members))}")


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, UnionType)


def _union_factory(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    """Build the union's member that has the value's JSON type; if none has, the first one refuses it."""
    members = get_args(kind)

    def structure(value: object, _: Any) -> Any:
        if value is None and NoneType in members:
            return None
        others = [one for one in members if one is not NoneType]
        fitting = [one for one in others if _has_json_type(value, one)]
        return converter.structure(value, (fitting or others)[0])

    return structure


def _has_json_type(value: object, kind: Any) -> bool:
    if kind is float:
        return (type(value) in (int, float)) or value in _NOT_FINITE
    if kind in _ACCEPTED:
        return type(value) is kind
    if is_dataclass(kind) or is_mapping(kind):
        return isinstance(value, dict)
    return isinstance(value, list)


def _flat_field(kind: Any) -> str | None:
    return next((one.name for one in fields(kind) if one.metadata.get("flat")), None)


def _left_out(kind: Any) -> dict[str, Any]:
    hidden = [one.name for one in fields(kind) if not one.metadata.get("json", True)]
    return {name: override(omit=True) for name in hidden}


def _structure_factory(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    hook = make_dict_structure_fn(
        kind,
        converter,
        _cattrs_forbid_extra_keys=True,
        _cattrs_detailed_validation=True,
        **_left_out(kind),
    )
    flat, derived = _flat_field(kind), getattr(kind, "derived", ())
    own = {one.name for one in fields(kind)} - {flat}

    def structure(value: object, _: Any) -> Any:
        if not isinstance(value, Mapping):
            raise OptionError(f" is {said(value)}, which is no JSON object")
        read = {name: one for name, one in value.items() if name not in derived}
        if flat is not None:
            read[flat] = {name: read.pop(name) for name in [*read] if name not in own}
        try:
            return hook(read, kind)
        except BaseValidationError as error:
            for inner in error.exceptions:  # errors name entries of a flat field without its name
                notes = getattr(inner, "__notes__", [])
                notes[:] = [one for one in notes if getattr(one, "name", "") != (flat or None)]
            raise

    return structure


def _unstructure_factory(kind: Any, converter: Converter) -> Callable[[Any], Any]:
    hook = make_dict_unstructure_fn(kind, converter, **_left_out(kind))
    flat, derived = _flat_field(kind), getattr(kind, "derived", ())

    def unstructure(value: Any) -> Any:
        written = hook(value)
        if flat is not None:
            written |= written.pop(flat)
        return written | {name: converter.unstructure(getattr(value, name)) for name in derived}

    return unstructure


def _first_line(error: BaseException, path: str) -> str:
    """The first error, after the path of its field: ``layers[0].n is 'x', which is no number``."""
    if isinstance(error, BaseValidationError):
        inner = error.exceptions[0]
        return _first_line(inner, _path(path, inner))
    if isinstance(error, ForbiddenExtraKeysError):
        unknown = ", ".join(sorted(said(name) for name in error.extra_fields))
        return one_line(f"{path} has the key {unknown}, which is not known", _SHORT * 5)
    if isinstance(error, KeyError):
        return one_line(f"{path} is missing", _SHORT * 5)
    text = str(error)
    joined = f"{path}{text}" if text.startswith(" ") else f"{path}: {text}"
    return one_line(joined, _SHORT * 5)


def _path(path: str, error: BaseException) -> str:
    for note in reversed(getattr(error, "__notes__", [])):
        if isinstance(note, AttributeValidationNote):
            return f"{path}.{note.name}"
        if isinstance(note, IterableValidationNote):
            return (
                f"{path}[{note.index}]" if isinstance(note.index, int) else f"{path}.{note.index}"
            )
    return path
