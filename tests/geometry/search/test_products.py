"""Products: bounds that hold for every pair, and tiles that miss none."""

import pytest
import torch
from hypothesis import given
from torch import Tensor

from pytest_injectivity.geometry.search.products import Products
from tests import reference
from tests.adversaries import KINDS, any_rows, draw_rows

DTYPES = (torch.bfloat16, torch.float32, torch.float64)
CPU = torch.device("cpu")


def assert_bounds_hold(rows: Tensor, dtype: torch.dtype) -> None:
    """Lower at most and upper at least the distance by subtraction, for every pair."""
    products = Products.of(rows, dtype=dtype)
    lower, upper = products.bounds(torch.arange(len(rows)))
    exact = torch.from_numpy(reference.distances(rows))
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


def test_bounds_are_tight_where_rows_share_an_offset() -> None:
    """Centring takes the offset out: a filter that leaves every pair open is of no use."""
    rows = draw_rows("offset 1e6", 50, 64, torch.float64)
    products = Products.of(rows, dtype=torch.float32)
    lower, upper = products.bounds(torch.arange(50))
    exact = torch.from_numpy(reference.distances(rows))
    off = ~torch.eye(50, dtype=torch.bool)
    assert 0.999 < float((lower * products.scale / exact)[off].min())
    assert 1.001 > float((upper * products.scale / exact)[off].max())


def test_bfloat16_bounds_are_within_two_per_cent_of_the_norm() -> None:
    """What rounding does is measured row by row, not bounded by the worst there could be."""
    rows = draw_rows("gaussian", 50, 256)
    products = Products.of(rows, dtype=torch.bfloat16)
    lower, upper = products.bounds(torch.arange(50))
    assert 0.02 * float(rows.norm(dim=1).max()) > float((upper - lower).max() * products.scale)
