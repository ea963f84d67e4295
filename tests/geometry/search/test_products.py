"""Products: bounds that hold for every pair, and tiles that miss none."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from torch import Tensor

from pytest_injectivity.geometry.search.limits import SearchLimits
from pytest_injectivity.geometry.search.products import Products, center, chunks
from tests import brute_force
from tests.adversaries import KINDS, any_rows, draw_rows

DTYPES = (torch.bfloat16, torch.float32, torch.float64)
CPU = torch.device("cpu")


def assert_bounds_hold(rows: Tensor, dtype: torch.dtype) -> None:
    """Lower at most and upper at least the distance by subtraction, for every pair."""
    products = Products.of(rows, dtype=dtype)
    lower, upper = products.bounds(torch.arange(len(rows)))
    exact = torch.from_numpy(brute_force.distances(rows))
    off = ~torch.eye(len(rows), dtype=torch.bool)
    assert bool((lower * products.scale <= exact)[off].all())
    assert bool((upper * products.scale >= exact)[off].all())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@given(rows=any_rows())
def test_products_bound_the_true_distance(dtype: torch.dtype, rows: Tensor) -> None:
    """Of rows of every kind, shape and dtype, whatever they are rounded to."""
    assert_bounds_hold(rows, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_products_bound_wide_rows_too(kind: str, dtype: torch.dtype) -> None:
    """At a width where a dot product in float32 has lost two digits."""
    assert_bounds_hold(draw_rows(kind, 60, 1500), dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_products_bound_rows_whose_squares_underflow(dtype: torch.dtype) -> None:
    """Coordinates of 1e-23 beside those of 1: no float32 holds their squares."""
    assert_bounds_hold(torch.tensor([[1.0], [-1.0], [1e-23], [-1e-23]]), dtype)


def test_bounds_are_tight_where_rows_share_an_offset() -> None:
    """Centering takes the offset out: a filter that leaves every pair open is of no use."""
    rows = draw_rows("offset 1e6", 50, 64, torch.float64)
    products = Products.of(rows, dtype=torch.float32)
    lower, upper = products.bounds(torch.arange(50))
    exact = torch.from_numpy(brute_force.distances(rows))
    off = ~torch.eye(50, dtype=torch.bool)
    assert 0.999 < float((lower * products.scale / exact)[off].min())
    assert 1.001 > float((upper * products.scale / exact)[off].max())


def test_bfloat16_bounds_are_within_two_per_cent_of_the_norm() -> None:
    """What rounding does is measured row by row, not bounded by the worst there could be."""
    rows = draw_rows("gaussian", 50, 256)
    products = Products.of(rows, dtype=torch.bfloat16)
    lower, upper = products.bounds(torch.arange(50))
    assert 0.02 * float(rows.norm(dim=1).max()) > float((upper - lower).max() * products.scale)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("k", [1, 3])
def test_the_kth_nearest_of_a_sample_is_bounded_from_above(dtype: torch.dtype, k: int) -> None:
    """For rows inside the sample and outside it, and by no more than the products' error."""
    rows = draw_rows("gaussian", 40, 6)
    products, sample = Products.of(rows, dtype=dtype), torch.arange(0, 40, 3)
    found = products.nearest_of(slice(5, 25), sample, k) * products.scale
    apart = torch.from_numpy(brute_force.distances(rows))
    apart.fill_diagonal_(torch.inf)
    exact = apart[5:25][:, sample].sort(dim=1).values[:, k - 1]
    assert (20,) == tuple(found.shape)
    assert (found >= exact).all()
    assert (found <= exact + 0.1).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@given(rows=any_rows())
def test_entries_of_a_tile_bound_their_pairs(dtype: torch.dtype, rows: Tensor) -> None:
    """From below and from above, for every pair of the tile, as `bounds` has them to rounding."""
    products = Products.of(rows, dtype=dtype)
    own, others = next(products.tiles())
    left, right = torch.tensor(brute_force.pairs(len(rows))).T
    found = products.bounded(left, right, products.squared(own, others)[left, right])
    exact = torch.from_numpy(brute_force.distances(rows))[left, right]
    assert [left.tolist(), right.tolist()] == [found.left.tolist(), found.right.tolist()]
    assert (found.lower * products.scale <= exact).all()
    assert (found.upper * products.scale >= exact).all()
    lower, upper = (bound[left, right] for bound in products.bounds(torch.arange(len(rows))))
    error = float(products.squares[: len(rows)].max()) ** 0.5 * (2 * products.slack) ** 0.5
    assert (found.upper - upper).abs().max() <= 2 * error + 1e-12
    assert (found.lower - lower).abs().max() <= 2 * error + 1e-12


def test_reordered_rows_keep_their_bounds() -> None:
    """Rows, squares, drift and the caller's numbers move together; padding stays behind."""
    rows, order = draw_rows("norm 1e3", 40, 6), torch.arange(39, -1, -1)
    products = Products.of(rows, dtype=torch.bfloat16)
    turned = products.reordered(order)
    every = torch.arange(40)
    assert order.tolist() == turned.order.tolist()
    assert torch.equal(products.drift[order], turned.drift)
    assert torch.equal(products.squares[:40][order], turned.squares[:40])
    assert turned.squares[40:].isinf().all()
    for before, after in zip(products.bounds(order), turned.bounds(every), strict=True):
        torch.testing.assert_close(before[:, order], after)


def test_an_order_given_is_the_order_they_stand_in() -> None:
    """As if the rows themselves had been given in that order."""
    rows, order = draw_rows("gaussian", 33, 5), torch.randperm(33)
    ordered, plain = Products.of(rows, order=order), Products.of(rows[order])
    assert order.tolist() == ordered.order.tolist()
    torch.testing.assert_close(ordered.rounded, plain.rounded)
    torch.testing.assert_close(ordered.squares, plain.squares)


def test_drift_is_how_far_rounding_moved_each_row() -> None:
    """Up to the rounding of float64, by which the centering may have moved it too."""
    rows = draw_rows("gaussian", 30, 8, torch.float64)
    products = Products.of(rows, dtype=torch.bfloat16)
    exact = (rows - rows.mean(dim=0)) / products.scale
    moved = (exact - products.rounded[:30].double()).norm(dim=1)
    assert (products.drift >= moved * (1 - 1e-9)).all()
    torch.testing.assert_close(products.drift, moved, rtol=1e-6, atol=1e-12)


def test_parts_hold_every_tile_once_in_order() -> None:
    """As many parts as their size asks for, at most one a tile."""
    rows = draw_rows("gaussian", 320, 2)
    limits = SearchLimits(tile_rows=32, tile_columns=64, part_pairs=5_000)
    products = Products.of(rows, limits=limits)
    parts = products.parts()
    assert list(products.tiles()) == [tile for part in parts for tile in part]
    assert 1 + 320 * 320 // 2 // 5_000 == len(parts)
    assert all(parts)
    fewer = Products.of(rows, limits=replace(limits, part_pairs=1)).parts()
    assert [1] * len(list(products.tiles())) == [len(part) for part in fewer]


@pytest.mark.parametrize("elements", [1, 12, 10**6])
def test_the_center_is_the_mean_whatever_the_chunks(elements: int) -> None:
    """And the scale a power of two at least as large as any centered coordinate."""
    rows = draw_rows("offset 1e3", 50, 6, torch.float64)
    mean, scale = center(rows, elements)
    torch.testing.assert_close(mean, rows.mean(dim=0), rtol=1e-14, atol=0)
    largest = float((rows - mean).abs().max())
    assert largest <= scale <= 2 * largest
    assert scale.is_integer()


def test_small_rows_have_a_scale_below_one() -> None:
    """A power of two as for large ones, so that their squares do not underflow."""
    rows = 1e-3 * draw_rows("gaussian", 50, 6, torch.float64)
    mean, scale = center(rows)
    largest = float((rows - mean).abs().max())
    assert largest <= scale <= 2 * largest < 1.0
    assert math.log2(scale).is_integer()


def test_rows_all_equal_have_scale_one() -> None:
    """There is nothing to divide by."""
    mean, scale = center(torch.full((4, 3), 7.0))
    assert ([7.0] * 3, 1.0) == (mean.tolist(), scale)


@pytest.mark.parametrize(
    ("n", "width", "elements", "expected"),
    [
        (5, 3, 6, [(0, 2), (2, 4), (4, 5)]),
        (4, 3, 100, [(0, 4)]),
        (3, 9, 1, [(0, 1), (1, 2), (2, 3)]),
        (2, 0, 5, [(0, 2)]),
        (0, 3, 6, [(0, 0)]),
    ],
)
def test_chunks_hold_every_row_once(
    n: int, width: int, elements: int, expected: list[tuple[int, int]]
) -> None:
    """As many rows as fit, at least one; an empty chunk where there is no row."""
    assert expected == [(part.start, part.stop) for part in chunks(n, width, elements)]
