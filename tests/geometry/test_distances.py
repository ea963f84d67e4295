"""Distances and norms by direct subtraction in float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.geometry.distances import (
    pair_distances,
    row_norms,
    sum_in_fixed_order,
)
from tests import brute_force
from tests.adversaries import any_rows, draw_rows


def all_pairs(rows: Tensor, **sizes: int) -> Tensor:
    """`pair_distances` of every ordered pair, as a table."""
    every = torch.arange(len(rows))
    left, right = torch.meshgrid(every, every, indexing="ij")
    found = pair_distances(rows, left.flatten(), right.flatten(), **sizes)
    return found.view(len(rows), len(rows))


@given(rows=any_rows())
def test_distances_equal_direct_subtraction(rows: Tensor) -> None:
    """Of every kind of rows, in every dtype, to the last places of float64."""
    np.testing.assert_allclose(all_pairs(rows).numpy(), brute_force.distances(rows), rtol=1e-14)


@given(rows=any_rows())
def test_norms_equal_the_reference(rows: Tensor) -> None:
    """In every dtype, to the last places of float64."""
    np.testing.assert_allclose(row_norms(rows).numpy(), brute_force.norms(rows), rtol=1e-14)


@given(rows=any_rows())
def test_distances_do_not_depend_on_the_order_of_a_pair(rows: Tensor) -> None:
    """Bit for bit: a pair seen from both sides is one pair."""
    assert torch.equal(all_pairs(rows).T, all_pairs(rows))


def test_the_arguments_are_left_as_they_were() -> None:
    """Squares are taken in place, and never of the caller's float64 rows."""
    rows = draw_rows("gaussian", 5, 3, torch.float64)
    before = rows.clone()
    all_pairs(rows), row_norms(rows)
    assert torch.equal(before, rows)


@pytest.mark.parametrize("block", [1, 7, 2**22])
@pytest.mark.parametrize("width", [1, 2, 3, 13])
def test_block_size_changes_no_bit(block: int, width: int) -> None:
    """Neither of distances nor of norms."""
    rows = draw_rows("sink", 9, width)
    expected = all_pairs(rows), row_norms(rows)
    assert torch.equal(expected[0], all_pairs(rows, block_elements=block))
    assert torch.equal(expected[1], row_norms(rows, block_elements=block))


def test_no_pairs_have_no_distances() -> None:
    """An empty list of pairs is not an error, and neither is an empty table of rows."""
    none = torch.zeros(0, dtype=torch.int64)
    assert (0,) == tuple(pair_distances(torch.zeros(3, 2), none, none).shape)
    assert (0,) == tuple(row_norms(torch.zeros(0, 2)).shape)


@given(
    terms=st.lists(st.lists(st.floats(0, 1e10), min_size=11, max_size=11), min_size=1, max_size=5)
)
def test_the_fixed_order_sums_every_term_once(terms: list[list[float]]) -> None:
    """At an odd width, which halving has to get right."""
    table = torch.tensor(terms, dtype=torch.float64)
    np.testing.assert_allclose(
        sum_in_fixed_order(table.clone()).numpy(), [math.fsum(row) for row in terms], rtol=1e-15
    )
