import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.core.strict_json import build, dumps, loads, plain, read_object
from pytest_injectivity.errors import OptionError


class Colour(StrEnum):
    """An enumeration."""

    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Inner:
    """A dataclass in another."""

    x: float
    pair: tuple[int, int] = (1, 2)


@dataclass(frozen=True)
class Outer:
    """Every kind of field that results have."""

    derived: ClassVar = ("twice",)

    n: int
    bits: int | str | None
    inner: Inner | None
    many: tuple[Inner, ...] = ()
    colour: Colour = Colour.RED
    relation: Literal[">=", "<="] = ">="
    counts: dict[str, int] = field(default_factory=dict)
    numbers: Mapping[str, float | Mapping[str, float] | None] = field(
        default_factory=dict, metadata={"flat": True}
    )
    secret: str = field(default="", metadata={"json": False})

    @property
    def twice(self) -> int:
        """Written, and not read."""
        return 2 * self.n


FULL = Outer(
    n=3,
    bits="4 per-token",
    inner=Inner(0.1),
    many=(Inner(1.0), Inner(2.5, (3, 4))),
    colour=Colour.BLUE,
    counts={"a": 1},
    numbers={"margin": 0.5, "near": {"0.1": 0.25}, "resolution": None},
)


def test_a_dataclass_is_plain_data() -> None:
    """Entries of a flat mapping among its own keys, properties that are written, nothing hidden."""
    assert {
        "n": 3,
        "bits": "4 per-token",
        "inner": {"x": 0.1, "pair": [1, 2]},
        "many": [{"x": 1.0, "pair": [1, 2]}, {"x": 2.5, "pair": [3, 4]}],
        "colour": "blue",
        "relation": ">=",
        "counts": {"a": 1},
        "margin": 0.5,
        "near": {"0.1": 0.25},
        "resolution": None,
        "twice": 6,
    } == plain(FULL)


def test_it_is_built_again() -> None:
    """From its own JSON."""
    assert FULL == loads(Outer, dumps(FULL))


@given(st.floats())
def test_every_float_survives(value: float) -> None:
    """To the last bit; what is not finite is a text, as JSON has none."""
    (again,) = loads(Outer, dumps(Outer(1, None, None, (Inner(value),)))).many
    assert repr(value) == repr(again.x)
    assert json.loads(dumps(Inner(value)))["x"] == (value if math.isfinite(value) else str(value))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": "3"}, "it.n is '3', which is no whole number"),
        ({"n": True}, "it.n is True, which is no whole number"),
        ({"n": 3.0}, "it.n is 3.0, which is no whole number"),
        ({"n": 10**400}, "it.n is an integer beyond all floats, which is no whole number"),
        ({"bits": 4.5}, "it.bits is 4.5"),
        ({"inner": 4}, "it.inner is 4, which is no JSON object"),
        ({"inner": {}}, "it.inner.x is missing"),
        ({"inner": {"x": None}}, "it.inner.x is None, which is no number"),
        ({"inner": {"x": 1, "y": 2}}, "it.inner has the key 'y', which is not known"),
        ({"inner": {"x": 1, "pair": [1]}}, "it.inner.pair"),
        ({"many": {}}, "it.many is an object, which is no list"),
        ({"many": "ab"}, "it.many is 'ab', which is no list"),
        ({"many": [{"x": 1}, {"x": "q"}]}, "it.many[1].x is 'q', which is no number"),
        ({"colour": "green"}, "it.colour is 'green', which is none of red, blue"),
        ({"colour": ["red"]}, "it.colour is a list, which is none of red, blue"),
        ({"relation": "="}, "it.relation is '=', which is none of >=, <="),
        ({"counts": {"a": "b"}}, "it.counts.a is 'b', which is no whole number"),
        ({"margin": "x"}, "it.margin is 'x', which is no number"),
        ({"near": {"a\x1b": "q"}}, "it.near.a\\x1b is 'q', which is no number"),
    ],
)
def test_what_is_of_another_type_is_refused(change: dict[str, Any], message: str) -> None:
    """With the field and the value, on one line that is safe to print."""
    with pytest.raises(OptionError) as refused:
        build(Outer, plain(FULL) | change)
    assert str(refused.value).startswith(message)
    assert str(refused.value).isprintable()


def test_a_missing_key_is_named() -> None:
    """Under the name that the caller gives the whole."""
    given_as = plain(FULL)
    del given_as["n"]
    with pytest.raises(OptionError, match=r"^report\.n is missing$"):
        build(Outer, given_as, "report")


@pytest.mark.parametrize("text", ["[]", "1", "null", '"n"'])
def test_what_is_no_object_is_refused(text: str) -> None:
    """Where a dataclass is expected."""
    with pytest.raises(OptionError, match="which is no JSON object"):
        loads(Outer, text)


@pytest.mark.parametrize(
    "text", ["", "{", "NaN", '{"n": Infinity}', '{"a": 1, "a": 2}', "[" * 10**5]
)
def test_what_is_no_json_is_refused(text: str, tmp_path: Path) -> None:
    """A text and a file alike."""
    path = tmp_path / "some.json"
    path.write_text(text)
    with pytest.raises(OptionError, match="it is damaged, cut short or no JSON"):
        loads(Outer, text)
    with pytest.raises(OptionError, match="it is damaged, cut short or no JSON"):
        read_object(path)


@pytest.mark.parametrize("value", [sys.float_info.max, -sys.float_info.max, 5e-324])
def test_every_finite_number_is_read_back(value: float) -> None:
    """The largest and the smallest floats are numbers too."""
    assert value == build(float, json.loads(dumps(value)))
