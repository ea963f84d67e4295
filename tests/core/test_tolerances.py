import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.core.tolerances import Tolerance, by_layer
from pytest_injectivity.errors import LayerError, OptionError

POSITIVE = st.floats(0.0, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("given_as", "expected"),
    [
        (0, Tolerance(0.0)),
        (1e-6, Tolerance(1e-6)),
        (np.float32(0.5), Tolerance(0.5)),
        ("1e-6", Tolerance(1e-6)),
        (" 2 ", Tolerance(2.0)),
        ("1e-5 rel", Tolerance(1e-5, relative=True)),
        ("1e-5  REL ", Tolerance(1e-5, relative=True)),
        ("0 rel", Tolerance(0.0, relative=True)),
        (Tolerance(3.0, relative=True), Tolerance(3.0, relative=True)),
    ],
)
def test_what_is_read(given_as: float | str | Tolerance, expected: Tolerance) -> None:
    """A number is absolute, a text says which."""
    assert expected == Tolerance.parse(given_as)


@pytest.mark.parametrize(
    "given_as",
    [
        *(-1e-300, math.nan, math.inf, -math.inf, None, True, False, [], [1.0], 1j, 10**400, b"1x"),
        *("", " ", "rel", "1e-5rel", "1e-5 rel rel", "-1 rel", "nan", "nan rel", "inf", "1e999"),
        *("small", "1e-5 abs", "1e-5 rel.", "1 e-5 rel"),
    ],
)
def test_what_is_refused(given_as: object) -> None:
    """Negative, infinite, NaN, no number: with the value and what is accepted."""
    message = re.escape(f"eps={given_as!r} is not a tolerance: give a finite number of at least 0")
    with pytest.raises(OptionError, match=f"^{message}.*1e-5 rel"):
        Tolerance.parse(given_as)  # type: ignore[arg-type]


@given(POSITIVE, st.booleans())
def test_what_is_printed_is_read_back(value: float, relative: bool) -> None:  # noqa: FBT001 - drawn
    """Up to the six digits that are printed."""
    again = Tolerance.parse(str(Tolerance(value, relative=relative)))
    assert relative == again.relative
    assert again.value == pytest.approx(value, rel=1e-5)


@given(POSITIVE, st.floats(0.0, 1e6))
def test_relative_is_of_the_mean_norm(value: float, norm: float) -> None:
    """Absolute tolerances do not look at it."""
    assert value == Tolerance(value).absolute(norm)
    assert value * norm == Tolerance(value, relative=True).absolute(norm)


def test_one_value_serves_all_layers_asked_for() -> None:
    """Those of the default where none are."""
    assert {1: 5, 2: 5, "norm": 5} == by_layer("x", 5, None, 2, "all")
    assert {0: 5} == by_layer("x", 5, 0, 2, "all")


def test_a_mapping_names_its_layers() -> None:
    """Any spec may be a key; layers come shallow first whatever the order of the keys."""
    found = by_layer("x", {"norm": "c", "0:2": "a", -1: "b"}, None, 2, "all")
    assert [(0, "a"), (1, "a"), (2, "b"), ("norm", "c")] == list(found.items())


def test_a_mapping_may_hold_more_than_is_asked_for() -> None:
    """One mapping for the project, one layer a test."""
    assert {2: "b"} == by_layer("x", {1: "a", 2: "b"}, 2, 2, "all")


def test_a_layer_without_a_value_is_refused() -> None:
    """The missing ones are named, the first four of them."""
    with pytest.raises(OptionError, match=r"^x has no value for layer02, norm: give each layer"):
        by_layer("x", {1: 0}, "all", 2, "all")
    with pytest.raises(OptionError, match="layer02, layer03, layer04, layer05, …: give"):
        by_layer("x", {1: 0}, "all", 9, "all")


def test_a_layer_with_two_values_is_refused() -> None:
    """-1 is the last layer, and so is its number."""
    with pytest.raises(OptionError, match=r"^x names layer02 twice"):
        by_layer("x", {-1: 0, 2: 0}, None, 2, "all")


def test_a_layer_that_is_not_there_is_refused() -> None:
    """In a key as in the argument."""
    with pytest.raises(LayerError, match="layer 3 is out of range"):
        by_layer("x", {3: 0}, None, 2, "all")
    with pytest.raises(LayerError, match="layer 3 is out of range"):
        by_layer("x", 0, 3, 2, "all")
    with pytest.raises(LayerError, match="name no layer"):
        by_layer("x", {}, None, 2, "all")
