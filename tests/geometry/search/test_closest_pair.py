"""The closest pair: the smallest distance of the reference, whatever rules the others out."""

import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor

from pytest_injectivity.errors import OptionError
from pytest_injectivity.geometry.search.closest_pair import ClosestPair, closest_pair
from pytest_injectivity.geometry.search.limits import SearchLimits
from tests import brute_force
from tests.adversaries import DTYPES, FEW_KINDS, KINDS, SEEDS, any_rows, draw_rows, exact_rows
from tests.repetitions import mostly_slow


def assert_closest(rows: Tensor, found: ClosestPair) -> None:
    """The distance is the reference's smallest, and the pair attains it."""
    apart = brute_force.distances(rows)
    np.fill_diagonal(apart, np.inf)
    np.testing.assert_allclose(found.distance, apart.min(), rtol=1e-14)
    np.testing.assert_allclose(apart[found.left, found.right], apart.min(), rtol=1e-14)
    assert found.left < found.right


@given(rows=any_rows())
def test_any_rows_have_the_closest_pair_of_the_reference(rows: Tensor) -> None:
    """Of every kind, shape and dtype."""
    assert_closest(rows, closest_pair(rows))


@given(rows=exact_rows())
def test_of_equally_close_pairs_the_first_is_named(rows: Tensor) -> None:
    """Where distances are exact, the pair is the reference's first."""
    found = closest_pair(rows)
    expected = brute_force.near(rows, float(brute_force.distances(rows).max()))[0]
    assert expected == (found.distance, found.left, found.right)


@pytest.mark.parametrize("few", [0.0, 1.0])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", mostly_slow(sorted(KINDS), *FEW_KINDS))
def test_projected_or_whole_products_find_the_same(
    kind: str, dtype: torch.dtype, few: float
) -> None:
    """Many tiles of wide rows, pruned along few directions or not at all."""
    limits = SearchLimits(axes=3, few_rows=0, few_near=few, tile_rows=64, tile_columns=128)
    rows = draw_rows(kind, 300, 20, dtype)
    assert_closest(rows, closest_pair(rows, limits=limits))


@given(rows=any_rows(), seed=SEEDS)
def test_prompt_order_does_not_matter(rows: Tensor, seed: int) -> None:
    """Shuffled rows have the same smallest distance, to the bit."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    assert closest_pair(rows).distance == closest_pair(rows[order]).distance


def test_few_pairs_are_looked_at() -> None:
    """Rows that spread along few directions leave a fraction of a per cent to look at."""
    rows = draw_rows("gaussian", 2000, 6) @ draw_rows("gaussian", 6, 100, seed=1)
    found = closest_pair(rows, limits=SearchLimits(few_rows=0))
    assert_closest(rows, found)
    assert found.looked_at < 0.005 * 2000 * 1999 / 2


def test_one_row_has_no_closest_pair() -> None:
    """The message says how many rows there are."""
    with pytest.raises(OptionError, match="1 rows have no closest pair: at least 2"):
        closest_pair(torch.zeros(1, 3))


def test_the_closest_pair_may_stand_on_either_side_of_a_tiles_edge() -> None:
    """Far apart along the direction that rows are sorted by, and nearer than the best found so far."""
    at = torch.arange(256.0, dtype=torch.float64)
    rows = torch.zeros(256, 6, dtype=torch.float64)
    rows[:, 0] = 0.9 * at + 0.2 * (at >= 128)
    # Along the second direction 130 stands between 127 and 128: no neighbors there either.
    rows[:, 1] = 0.3 * (at - 128.8).abs()
    # Neighbors along the first direction are 5 apart along a third one, but for 127 and 128.
    rows[:, 2] = 5.0 * (at + (at >= 128)).remainder(2)
    limits = SearchLimits(axes=2, few_rows=0, few_near=1.0, tile_rows=128, tile_columns=128)
    found = closest_pair(rows, limits=limits)
    assert (127, 128) == (found.left, found.right)
    assert_closest(rows, found)
