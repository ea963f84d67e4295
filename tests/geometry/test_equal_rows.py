"""Classes of equal rows: exact, whatever the dtype, and cheap, whatever their size."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.geometry.equal_rows import EqualRows
from tests import brute_force
from tests.adversaries import DTYPES, any_rows, draw_rows, exact_rows


@given(rows=st.one_of(any_rows(), exact_rows()))
def test_colliding_pairs_equal_the_reference(rows: Tensor) -> None:
    """All of them, each once, and their number."""
    expected = brute_force.colliding(rows)
    equal = EqualRows.of(rows)
    assert len(expected) == equal.pairs
    assert expected == sorted(equal.list_pairs(len(expected) + 1))


@given(rows=st.one_of(any_rows(), exact_rows()))
def test_classes_and_representatives_share_the_rows_out(rows: Tensor) -> None:
    """Each row is a representative, or a later member of one class."""
    equal = EqualRows.of(rows)
    later = [row for members in equal.classes for row in members[1:].tolist()]
    assert list(range(len(rows))) == sorted([*equal.representatives.tolist(), *later])
    for members in equal.classes:
        assert members.tolist() == sorted(members.tolist())
        assert members[0] in equal.representatives


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_minus_zero_equals_zero(dtype: torch.dtype) -> None:
    """Bytes differ, coordinates do not (SPEC section 2)."""
    rows = torch.tensor([[0.0, 1.0], [-0.0, 1.0], [0.0, -1.0]], dtype=dtype)
    assert ((0, 1),) == EqualRows.of(rows).list_pairs(10)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_last_bit_of_any_coordinate_tells_rows_apart(dtype: torch.dtype) -> None:
    """One unit in the last place, in each coordinate in turn."""
    row = torch.full((1, 9), 1.5, dtype=dtype)
    rows = row.repeat(10, 1)
    for at in range(9):
        rows[at, at] += torch.finfo(dtype).eps
    assert EqualRows.of(rows).pairs == 0


def test_the_least_numbers_are_not_zero() -> None:
    """A subnormal coordinate differs from 0 and from its negative."""
    least = 2.0**-149
    rows = torch.tensor([[0.0], [least], [-least]])
    assert EqualRows.of(rows).pairs == 0


@given(codes=st.lists(st.lists(st.integers(-3, 3), min_size=2, max_size=2), min_size=2))
def test_integer_codes_are_compared_as_integers(codes: list[list[int]]) -> None:
    """Activation quantization counts its collisions on codes."""
    table = torch.tensor(codes)
    assert len(brute_force.colliding(table)) == EqualRows.of(table).pairs


def test_rows_that_are_not_contiguous_are_read_right() -> None:
    """A transposed or strided view has its own bytes elsewhere."""
    rows = draw_rows("integer grid", 6, 40).T
    assert len(brute_force.colliding(rows)) == EqualRows.of(rows).pairs
    assert len(brute_force.colliding(rows[::2])) == EqualRows.of(rows[::2]).pairs


def test_the_rows_are_left_as_they_were() -> None:
    """The sign of a zero is not the caller's to lose."""
    rows = torch.tensor([[-0.0], [1.0]])
    EqualRows.of(rows)
    assert bool(rows[0].signbit())


@pytest.mark.parametrize("limit", [0, 1, 2, 5, 6, 100])
def test_at_most_limit_pairs_are_listed(limit: int) -> None:
    """In the order of their rows."""
    rows = torch.tensor([[1.0], [2.0], [1.0], [2.0], [1.0], [3.0], [1.0]])
    every = ((0, 2), (0, 4), (0, 6), (1, 3), (2, 4), (2, 6), (4, 6))
    assert every[:limit] == EqualRows.of(rows).list_pairs(limit)


def test_a_big_class_is_counted_without_listing_it() -> None:
    """40,000 equal rows are 800 million pairs: counted, and a few listed, at once."""
    equal = EqualRows.of(torch.ones(40_000, 2))
    started = time.perf_counter()
    assert 40_000 * 39_999 // 2 == equal.pairs
    assert ((0, 1), (0, 2), (0, 3)) == equal.list_pairs(3)
    assert time.perf_counter() - started < 1


def test_no_rows_have_no_classes() -> None:
    """An empty table is not an error."""
    equal = EqualRows.of(torch.zeros(0, 4))
    assert (0, ()) == (equal.pairs, equal.classes)
    np.testing.assert_array_equal(equal.representatives, np.zeros(0, dtype=np.int64))
