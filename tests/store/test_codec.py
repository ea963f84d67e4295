"""Frozen dataclasses of arrays and plain data, as bytes and back."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.geometry.equal_rows import EqualRows
from pytest_injectivity.geometry.search.neighbors import Neighbors
from pytest_injectivity.inversion.recovery import Status
from pytest_injectivity.states.pair_decisions import Decision, Kind
from pytest_injectivity.store import codec as plain
from pytest_injectivity.store.codec import from_bytes, to_bytes

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers() | st.tuples(st.integers()), inner)
    ),
)


@given(value=PLAIN)
def test_plain_data_survives(value: object) -> None:
    """Types and all: a tuple is no list, a key no text."""
    found = from_bytes(to_bytes(value))
    assert repr(value) == repr(found)


@given(rows=st.lists(st.lists(st.integers() | st.booleans()).map(tuple)).map(tuple))
def test_rows_of_numbers_survive(rows: tuple[tuple[int, ...], ...]) -> None:
    """Prompts: empty ones, truth values, numbers that no array holds."""
    assert repr(rows) == repr(from_bytes(to_bytes(rows)))


def test_dataclasses_enumerations_and_nan_survive() -> None:
    """Nested; a float with all its digits."""
    value = (Decision(Kind.RESOLVED, 0.1 + 0.2, math.nan, math.inf, 3.0), Status.AMBIGUOUS)
    found = from_bytes(to_bytes(value))
    assert repr(value) == repr(found)
    assert found[1] is Status.AMBIGUOUS


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.bool_, np.float32])
@pytest.mark.parametrize("shape", [(0,), (5,), (3, 4)])
def test_arrays_survive_bit_for_bit(dtype: type, shape: tuple[int, ...]) -> None:
    """Empty ones and slices too."""
    array = np.random.default_rng(0).integers(0, 2**40, (*shape, 2)).astype(dtype)[..., 0]
    found = from_bytes(to_bytes([array]))[0]
    assert (array.dtype, array.tobytes()) == (found.dtype, found.tobytes())
    assert array.shape == found.shape


def test_a_rooms_results_survive() -> None:
    """What a layer's geometry is made of, its cached properties computed again."""
    equal = from_bytes(to_bytes(EqualRows(np.array([0, 1, 0]))))
    assert 1 == equal.pairs
    found = from_bytes(to_bytes(Neighbors(np.ones(2), np.array([1, 0]), 0)))
    assert [1, 0] == found.index.tolist()


@dataclass(frozen=True)
class _Elsewhere:
    """No class of the package."""


@pytest.mark.parametrize("value", [object(), np.int64(1), {1, 2}, b"bytes", Decision, 1j])
def test_other_values_are_refused(value: object) -> None:
    """By the name of their type, when they are written."""
    with pytest.raises(TypeError, match="is no plain data"):
        to_bytes((value,))


def test_only_this_packages_dataclasses_are_built() -> None:
    """Whatever a file names: no other module is imported, nothing is called."""
    with pytest.raises(TypeError, match="is not of pytest_injectivity"):
        from_bytes(to_bytes(_Elsewhere()))
    for name in (
        "pytest_injectivity.core.text:one_line",
        "pytest_injectivity.store.codec:to_bytes",
    ):
        with pytest.raises(TypeError, match="is neither a dataclass nor an enumeration"):
            plain._class(name)
