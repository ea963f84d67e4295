"""Tiles: none of the pairs in reach is missed, whatever the reach and the size of the tiles."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.geometry.search.limits import SearchLimits
from pytest_injectivity.geometry.search.products import Products
from pytest_injectivity.geometry.search.tiles import Tile
from tests import brute_force
from tests.adversaries import SEEDS, any_rows, draw_rows

DTYPES = (torch.bfloat16, torch.float32, torch.float64)


@pytest.mark.parametrize("tile", [(32, 32), (32, 96), (64, 32), (1024, 8192)])
def test_tiles_hold_every_pair_once(tile: tuple[int, int]) -> None:
    """With all rows in reach, the pairs found are all pairs, at any size of the tiles."""
    limits = SearchLimits(tile_rows=tile[0], tile_columns=tile[1])
    products = Products.of(draw_rows("gaussian", 150, 7), limits=limits)
    everywhere = torch.full((150,), 1e3, dtype=torch.float64)
    found = [
        pair
        for own, others in products.tiles()
        for pairs in [Tile(products, own, others).in_reach(everywhere)]
        for pair in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)
    ]
    assert brute_force.pairs(150) == sorted(found)
    # With a stretch the columns of a tile stand in another order.
    reach = torch.rand(150, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1e3
    found = [
        pair
        for own, others in products.tiles()
        for pairs in [Tile(products, own, others).in_reach(reach, everywhere[own])]
        for pair in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)
    ]
    assert brute_force.pairs(150) == sorted(found)
    near = [Tile(products, own, others).near(1e3) for own, others in products.tiles()]
    assert brute_force.pairs(150) == sorted(
        pair
        for pairs in near
        for pair in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_reach_beyond_all_numbers_meets_every_row_and_no_padding(dtype: torch.dtype) -> None:
    """Rows of norm 1e-30 and an eps of 1, whose square no float32 holds in their units."""
    products = Products.of(draw_rows("gaussian", 5, 3), dtype=dtype)
    tile = Tile(products, *next(products.tiles()))
    everywhere = torch.full((5,), 1e30, dtype=torch.float64)
    weights = torch.ones(5, dtype=torch.int64)
    for pairs in (
        tile.near(1e30),
        tile.in_reach(everywhere),
        tile.in_reach(everywhere, torch.ones_like(everywhere)),
    ):
        found = zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)
        assert brute_force.pairs(5) == sorted(found)
    sure, open_ = tile.within(1e30, weights)
    assert len(brute_force.pairs(5)) == sure + len(open_)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@given(rows=any_rows(), seed=SEEDS)
def test_no_pair_in_reach_is_missed(dtype: torch.dtype, rows: Tensor, seed: int) -> None:
    """Whatever each row's reach and stretch, at distances that are just in reach."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(rows), generator=generator)
    products = Products.of(rows, order=order, dtype=dtype)
    exact = torch.from_numpy(brute_force.distances(rows)[order][:, order]) / products.scale
    picked = torch.randint(0, len(rows), (len(rows),), generator=generator)
    reach = exact[torch.arange(len(rows)), picked]
    reach[torch.rand(len(rows), generator=generator) < 0.2] = -torch.inf
    stretch = torch.rand(len(rows), generator=generator, dtype=torch.float64) + 0.5
    wanted = exact <= torch.maximum(reach[:, None], reach) * stretch[:, None]
    expected = set(map(tuple, wanted.triu(1).nonzero().tolist()))
    pairs = Tile(products, *next(products.tiles())).in_reach(reach, stretch)
    assert expected <= set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@given(rows=any_rows(), at=st.integers(0, 400))
def test_no_near_pair_is_missed(dtype: torch.dtype, rows: Tensor, at: int) -> None:
    """Within one reach for all, at distances that are just in reach."""
    products = Products.of(rows, dtype=dtype)
    exact = torch.from_numpy(brute_force.distances(rows)) / products.scale
    reach = float(exact.flatten().sort().values[at % exact.numel()])
    pairs = Tile(products, *next(products.tiles())).near(reach)
    expected = set(map(tuple, (exact <= reach).triu(1).nonzero().tolist()))
    assert expected <= set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@given(rows=any_rows(), at=st.integers(0, 400), seed=SEEDS)
def test_pairs_surely_within_are_within(
    dtype: torch.dtype, rows: Tensor, at: int, seed: int
) -> None:
    """Counted ones are, open ones may be, and no pair within is neither; by weight."""
    products = Products.of(rows, dtype=dtype)
    exact = brute_force.distances(rows)
    weights = torch.randint(1, 5, (len(rows),), generator=torch.Generator().manual_seed(seed))
    reach = np.sort(exact.ravel())[at % exact.size]
    sure, open_ = Tile(products, *next(products.tiles())).within(reach / products.scale, weights)
    pairs = [(i, j) for i, j in brute_force.pairs(len(rows)) if exact[i, j] <= reach]
    looked_at = zip(open_.left.tolist(), open_.right.tolist(), strict=True)
    decided = sure + sum(int(weights[i] * weights[j]) for i, j in looked_at if exact[i, j] <= reach)
    assert sum(int(weights[i] * weights[j]) for i, j in pairs) == decided


@given(rows=any_rows(), seed=SEEDS)
def test_no_pair_beyond_its_reach_is_missed(rows: Tensor, seed: int) -> None:
    """The search with the signs turned, under a lower bound of the prompts' distance."""
    products = Products.of(rows)
    exact = torch.from_numpy(brute_force.distances(rows)) / products.scale
    generator = torch.Generator().manual_seed(seed)
    least = torch.randint(1, 9, exact.shape, generator=generator).float()
    reach = exact[torch.arange(len(rows)), torch.randperm(len(rows), generator=generator)] / 3
    wanted = exact >= torch.minimum(reach[:, None], reach) * least
    pairs = Tile(products, *next(products.tiles())).beyond(reach, least)
    expected = set(map(tuple, wanted.triu(1).nonzero().tolist()))
    assert expected <= set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_closest_pair_of_every_tile_is_found(dtype: torch.dtype) -> None:
    """Where other pairs are left out, too; no row is taken for its own neighbor."""
    limits = SearchLimits(tile_rows=32, tile_columns=32)
    rows = draw_rows("gaussian", 90, 7)
    # Tiles of rows that are near, and of rows that are far apart.
    rows[:, 0] += 50.0 * (torch.arange(90) // 32)
    products = Products.of(rows, dtype=dtype, limits=limits)
    exact = torch.from_numpy(brute_force.distances(rows))
    exact[tuple(torch.tril_indices(90, 90))] = torch.inf
    tiles = list(products.tiles())
    found = [Tile(products, own, others).near(1e3, closest=True) for own, others in tiles]
    nearest = [float(exact[pairs.left, pairs.right].min()) for pairs in found]
    assert [float(exact[own, others].min()) for own, others in tiles] == nearest


def test_a_pair_just_as_far_as_its_reach_is_beyond_it() -> None:
    """Products have an error, although rounding moved no row: it is allowed for."""
    half = draw_rows("gaussian", 20, 1500)
    rows = torch.cat([half, -half])
    products = Products.of(rows, dtype=torch.float32)
    assert float(products.drift.max()) < 1e-12
    exact = torch.from_numpy(brute_force.distances(rows)) / products.scale
    least = exact.float()
    least = torch.where(least.double() > exact, least.nextafter(torch.zeros(())), least)
    everywhere = torch.ones(40, dtype=torch.float64)
    pairs = Tile(products, *next(products.tiles())).beyond(everywhere, least)
    found = zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)
    assert brute_force.pairs(40) == sorted(found)
