"""Distances by direct subtraction, and the bounds of the matrix products that scout for them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.geometry import distances
from pytest_injectivity.geometry.distances import (
    Products,
    full_precision,
    pair_distances,
    row_norms,
    sum_in_fixed_order,
)
from tests import reference
from tests.adversaries import KINDS, any_rows, draw_rows, exact_rows


def all_pairs(rows: Tensor) -> Tensor:
    """`pair_distances` of every ordered pair, as a table."""
    every = torch.arange(len(rows))
    left, right = torch.meshgrid(every, every, indexing="ij")
    return pair_distances(rows, left.flatten(), right.flatten()).view(len(rows), len(rows))


@given(rows=any_rows())
def test_distances_equal_direct_subtraction(rows: Tensor) -> None:
    """Of every kind of rows, in every dtype, to the last places of float64."""
    np.testing.assert_allclose(all_pairs(rows).numpy(), reference.distances(rows), rtol=1e-14)


@given(rows=any_rows())
def test_norms_equal_the_reference(rows: Tensor) -> None:
    """In every dtype, to the last places of float64."""
    np.testing.assert_allclose(row_norms(rows).numpy(), reference.norms(rows), rtol=1e-14)


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
def test_block_size_changes_no_bit(monkeypatch: pytest.MonkeyPatch, block: int, width: int) -> None:
    """Neither of distances nor of norms."""
    rows = draw_rows("sink", 9, width)
    expected = all_pairs(rows), row_norms(rows)
    monkeypatch.setattr(distances, "_BLOCK_ELEMENTS", block)
    assert torch.equal(expected[0], all_pairs(rows))
    assert torch.equal(expected[1], row_norms(rows))


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@given(rows=any_rows())
def test_products_bound_the_true_distance(dtype: torch.dtype, rows: Tensor) -> None:
    """Lower at most and upper at least the distance by subtraction, for every pair."""
    products = Products.of(rows, dtype)
    every, exact = torch.arange(len(rows)), all_pairs(rows)
    off = ~torch.eye(len(rows), dtype=torch.bool)
    assert bool((products.distance(products.lower(every)) <= exact)[off].all())
    assert bool((products.distance(products.upper(every)) >= exact)[off].all())


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_products_bound_wide_rows_too(kind: str) -> None:
    """At a width where a dot product in float32 has lost two digits."""
    rows = draw_rows(kind, 60, 1500)
    products = Products.of(rows, torch.float32)
    every, exact = torch.arange(len(rows)), all_pairs(rows)
    off = ~torch.eye(len(rows), dtype=torch.bool)
    assert bool((products.distance(products.lower(every)) <= exact)[off].all())
    assert bool((products.distance(products.upper(every)) >= exact)[off].all())


def test_bounds_are_tight_where_rows_share_an_offset() -> None:
    """Centring takes the offset out: a scout that leaves every pair open is of no use."""
    rows = draw_rows("offset 1e6", 50, 64, torch.float64)
    products = Products.of(rows, torch.float32)
    every, exact = torch.arange(50), all_pairs(rows)
    off = ~torch.eye(50, dtype=torch.bool)
    assert 0.999 < float((products.distance(products.lower(every)) / exact)[off].min())
    assert 1.001 > float((products.distance(products.upper(every)) / exact)[off].max())


@given(rows=exact_rows(), first=st.integers(0, 29))
def test_bounds_from_a_column_on_are_those_columns(rows: Tensor, first: int) -> None:
    """`first` leaves out columns and changes none."""
    first = min(first, len(rows) - 1)
    products, every = Products.of(rows, torch.float64), torch.arange(len(rows))
    torch.testing.assert_close(products.lower(every)[:, first:], products.lower(every, first))
    torch.testing.assert_close(products.upper(every)[:, first:], products.upper(every, first))


@pytest.mark.parametrize("block", [1, 10, 2**22])
def test_own_blocks_cover_every_row_once(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """In order, whatever the block size is."""
    monkeypatch.setattr(distances, "_BLOCK_ELEMENTS", block)
    products = Products.of(torch.zeros(17, 2), torch.float32)
    assert list(range(17)) == torch.cat(list(products.own_blocks())).tolist()


def test_a_block_holds_a_bounded_number_of_elements() -> None:
    """Against any number of rows, a block has at most 64 MB of float64 bounds."""
    for n in (10, 5_000, 50_000):
        products = Products.of(torch.zeros(n, 1), torch.float32)
        assert max(len(own) for own in products.own_blocks()) * n <= 2**23


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_products_run_in_full_precision_whatever_is_set(precision: str) -> None:
    """A bfloat16 product would break the proved bound; the user's setting is put back."""
    before = torch.get_float32_matmul_precision()
    rows = draw_rows("gaussian", 256, 512)
    exact = (rows.double() @ rows.double().T).float()
    try:
        torch.set_float32_matmul_precision(precision)
        with full_precision():
            inside = rows @ rows.T
        assert precision == torch.get_float32_matmul_precision()
    finally:
        torch.set_float32_matmul_precision(before)
    torch.testing.assert_close(inside, exact, rtol=1e-4, atol=1e-3)


def test_full_precision_knows_the_newer_setting_too() -> None:
    """Where only one backend's precision was set, torch's older getter raises."""
    backend = torch.backends.mkldnn.matmul
    before = backend.fp32_precision
    rows = draw_rows("gaussian", 256, 512)
    exact = (rows.double() @ rows.double().T).float()
    try:
        backend.fp32_precision = "bf16"
        with full_precision():
            inside = rows @ rows.T
        assert backend.fp32_precision == "bf16"
    finally:
        backend.fp32_precision = before
    torch.testing.assert_close(inside, exact, rtol=1e-4, atol=1e-3)
