"""Post-hoc activation quantisation: codes, step and the collisions it makes."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.errors import OptionError
from pytest_injectivity.geometry.collisions import EqualRows
from pytest_injectivity.geometry.quantise import quantise
from tests import reference
from tests.adversaries import DTYPES, any_rows, draw_rows

BITS = range(2, 9)


def codes_by_hand(rows: Tensor, bits: int) -> tuple[np.ndarray, float]:
    """``clip(round(x / step))``, a coordinate at a time; Python rounds half to even."""
    levels = 2 ** (bits - 1) - 1
    values = rows.double().tolist()
    step = max(abs(value) for row in values for value in row) / levels
    codes = [[max(-levels, min(levels, round(value / step))) for value in row] for row in values]
    return np.array(codes), step


@given(rows=any_rows(), bits=st.sampled_from(BITS))
def test_codes_and_step_equal_those_by_hand(rows: Tensor, bits: int) -> None:
    """Of every kind, shape and dtype, at 8 to 2 bits."""
    assume(bool(rows.abs().max() > 0))
    expected, step = codes_by_hand(rows, bits)
    found = quantise(rows, bits)
    assert step == found.step
    np.testing.assert_array_equal(found.codes.numpy(), expected)
    np.testing.assert_array_equal(found.rows.numpy(), expected * step)


@given(rows=any_rows(), bits=st.sampled_from(BITS))
def test_collisions_on_codes_equal_brute_force(rows: Tensor, bits: int) -> None:
    """The same pairs, whether counted on codes or on the values they stand for."""
    assume(bool(rows.abs().max() > 0))
    expected = reference.colliding(torch.from_numpy(codes_by_hand(rows, bits)[0]))
    found = quantise(rows, bits)
    assert len(expected) == EqualRows.of(found.codes).pairs
    assert len(expected) == EqualRows.of(found.rows).pairs


@pytest.mark.parametrize("bits", [2, 4, 8, 16, 32])
def test_the_largest_magnitude_is_kept_and_no_value_moves_half_a_step(bits: int) -> None:
    """One scale for the layer, symmetric about zero, clipping nothing."""
    rows = draw_rows("sink", 50, 20)
    found = quantise(rows, bits)
    assert 2 ** (bits - 1) - 1 == int(found.codes.abs().max())
    moved = float((found.rows - rows.double()).abs().max())
    assert moved <= found.step / 2 * (1 + 1e-9)
    assert float(rows.abs().max()) == pytest.approx(float(found.rows.abs().max()), rel=1e-15)


def test_two_bits_are_three_codes() -> None:
    """-1, 0 and 1; half a step rounds to even."""
    found = quantise(torch.tensor([[4.0, -4.0], [2.0, 2.1], [-1.9, 0.0]]), 2)
    assert 4.0 == found.step
    assert [[1, -1], [0, 1], [0, 0]] == found.codes.tolist()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_fewer_bits_never_part_what_more_bits_join_at_zero(dtype: torch.dtype) -> None:
    """The number of colliding pairs of a real layer grows as bits are taken away."""
    rows = draw_rows("gaussian", 300, 3, dtype)
    counts = [EqualRows.of(quantise(rows, bits).codes).pairs for bits in (8, 6, 4, 2)]
    assert sorted(counts) == counts
    assert counts[0] < counts[-1]


@pytest.mark.parametrize("bits", [1, 0, -8, 33, True])
def test_bits_out_of_range_are_refused(bits: int) -> None:
    """The message names the value and what is accepted."""
    with pytest.raises(OptionError, match=rf"bits={bits!r}: give a whole number .* 2 to 32"):
        quantise(torch.ones(2, 2), bits)


@pytest.mark.parametrize("rows", [torch.zeros(3, 2), -torch.zeros(3, 2), torch.zeros(0, 2)])
def test_a_layer_without_scale_is_refused(rows: Tensor) -> None:
    """All zero, or no row that is finite."""
    with pytest.raises(OptionError, match="no scale for 4 bits"):
        quantise(rows, 4)


def test_numbers_too_small_for_a_step_are_refused() -> None:
    """The least float64 over 127 is 0: no step, and no NaN in its place."""
    with pytest.raises(OptionError, match="no scale for 8 bits"):
        quantise(torch.tensor([[5e-324], [0.0]], dtype=torch.float64), 8)
