"""Typed names of numbers: equal keys are written alike, other keys are not, in every process."""

import importlib
import pkgutil
import subprocess
import sys
from dataclasses import dataclass, fields, replace
from enum import Enum
from itertools import combinations
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest

import pytest_injectivity
from pytest_injectivity.core.number_keys import NumberKey, PartKey
from pytest_injectivity.geometry.keys import (
    FiniteRowsKey,
    NearPairsKey,
    RoundedRowsKey,
    RowsKey,
)


def kinds_of(base: type[NumberKey] = NumberKey) -> list[type[NumberKey]]:
    """Every kind of key that a module of the package declares."""
    for module in pkgutil.walk_packages(pytest_injectivity.__path__, "pytest_injectivity."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found = [kind for kind in base.__subclasses__() if kind.__module__.startswith("pytest_inj")]
    return sorted(found, key=lambda kind: kind.__qualname__)


PLAIN: dict[Any, list[Any]] = {
    type(None): [None],
    bool: [True, False],
    int: [1, 2],
    float: [1.0, 0.1 + 0.2, 0.3, float("inf")],
    str: ["1", "None", 'a", "b', "a\nb"],
}


def values_of(hint: Any) -> list[Any]:
    """Values that a field of this type may hold, no two alike; at least two of each type."""
    if hint is RoundedRowsKey:  # holds itself
        return [RoundedRowsKey(RowsKey(5), "4", None)]
    if hint is NumberKey:
        return [RowsKey(3), RowsKey(4)]
    if isinstance(hint, type) and issubclass(hint, NumberKey):
        return examples_of(hint)
    form, inner = get_origin(hint), [one for one in get_args(hint) if one is not Ellipsis]
    if form is tuple:
        first, second = values_of(inner[0])[:2]
        return [(first, second), (second, first)]
    if form is Literal:
        return inner
    return PLAIN[hint] if form is None else [value for one in inner for value in values_of(one)]


def examples_of(kind: type[NumberKey]) -> list[NumberKey]:
    """A key of this kind, and for each field and each other value of it the key that has that."""
    hints = get_type_hints(kind)
    values = {one.name: values_of(hints[one.name]) for one in fields(kind)}
    first = kind(**{name: those[0] for name, those in values.items()})
    return [
        first,
        *(replace(first, **{name: value}) for name, those in values.items() for value in those[1:]),
    ]


KINDS = kinds_of()


def test_the_kinds_of_every_room_are_tested() -> None:
    """The walk through the package finds those of geometry, inversion and audit."""
    rooms = {kind.__module__.split(".")[1] for kind in KINDS}
    assert {"core", "geometry", "inversion", "audit"} <= rooms


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__qualname__)
def test_every_field_changes_the_text(kind: type[NumberKey]) -> None:
    """Two keys of a kind that differ in one field are written differently."""
    texts = [key.text for key in examples_of(kind)]
    assert len(texts) > len(fields(kind))
    assert len(texts) == len(set(texts))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__qualname__)
def test_equal_keys_have_equal_texts(kind: type[NumberKey]) -> None:
    """The text follows from the fields alone."""
    pairs = [(key.text, replace(key).text) for key in examples_of(kind)]
    assert pairs
    assert [one for one, _ in pairs] == [two for _, two in pairs]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__qualname__)
def test_keys_share_a_work_where_only_the_fields_of_together_differ(kind: type[NumberKey]) -> None:
    """Those are computed in one pass, under one lock."""
    names = [one.name for one in fields(kind)]
    assert set(kind.together) <= set(names)
    first, *others = examples_of(kind)
    alike = {
        tuple(name for name in names if getattr(first, name) != getattr(one, name))
        for one in others
        if one.work == first.work
    }
    assert {(name,) for name in kind.together} == alike


def test_no_two_kinds_share_a_text() -> None:
    """Not even where their fields have the same names and values."""
    texts = {kind: {key.text for key in examples_of(kind)} for kind in KINDS}
    assert not [
        (one.__name__, two.__name__)
        for one, two in combinations(KINDS, 2)
        if texts[one] & texts[two]
    ]


NEAR = NearPairsKey(RoundedRowsKey(RowsKey("norm"), "4 asymmetric", None), 1e-05, 10_000)
NEAR_TEXT = (
    '{"kind": "pytest_injectivity.geometry.keys.NearPairsKey", "rows":'
    ' {"kind": "pytest_injectivity.geometry.keys.RoundedRowsKey", "rows":'
    ' {"kind": "pytest_injectivity.geometry.keys.RowsKey", "layer": "norm"},'
    ' "grid": "4 asymmetric", "scale": null}, "eps": 1e-05, "limit": 10000}'
)


def test_a_text_says_the_kind_and_every_field() -> None:
    """In the order of the declaration, keys within keys, floats with all their digits."""
    assert NEAR_TEXT == NEAR.text


def test_a_text_is_the_same_in_every_process() -> None:
    """It depends on no hash seed and no memory address."""
    code = (
        "from pytest_injectivity.core.number_keys import PartKey\n"
        "from pytest_injectivity.geometry.keys import *\n"
        "print(PartKey(FiniteRowsKey(RowsKey(4)), 1, 2).text)"
    )
    told = subprocess.run(  # noqa: S603 - python itself
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert PartKey(FiniteRowsKey(RowsKey(4)), 1, 2).text == told.stdout.strip()


class Colour(Enum):
    """Something with no canonical serialisation."""

    RED = "red"


@dataclass(frozen=True)
class LooseKey(NumberKey):
    """A key whose field may hold anything."""

    value: object


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ([1, 2], "list"),
        ({"a": 1}, "dict"),
        (np.float64(1), "float64"),
        (np.int64(1), "int64"),
        (Colour.RED, "Colour"),
        ((1, (2, {3})), "set"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_canonical_text_is_refused(value: object, kind: str) -> None:
    """A mistake of the caller's, not a key that nobody finds again."""
    with pytest.raises(TypeError, match=f"a key cannot hold a {kind}: "):
        _ = LooseKey(value).text
