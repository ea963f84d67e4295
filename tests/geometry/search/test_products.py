"""Products: bounds that hold for every pair, and tiles that miss none."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.geometry.search import products
from pytest_injectivity.geometry.search.precision import fastest_dtype, precision_of
from pytest_injectivity.geometry.search.products import Products
from tests import reference
from tests.adversaries import KINDS, SEEDS, any_rows, draw_rows

DTYPES = (torch.bfloat16, torch.float32, torch.float64)
CPU = torch.device("cpu")


def assert_bounds_hold(rows: Tensor, dtype: torch.dtype) -> None:
    """Lower at most and upper at least the distance by subtraction, for every pair."""
    scout = Products.of(rows, dtype=dtype)
    lower, upper = scout.bounds(torch.arange(len(rows)))
    exact = torch.from_numpy(reference.distances(rows))
    off = ~torch.eye(len(rows), dtype=torch.bool)
    assert bool((lower * scout.scale <= exact)[off].all())
    assert bool((upper * scout.scale >= exact)[off].all())


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
    """Centring takes the offset out: a scout that leaves every pair open is of no use."""
    rows = draw_rows("offset 1e6", 50, 64, torch.float64)
    scout = Products.of(rows, dtype=torch.float32)
    lower, upper = scout.bounds(torch.arange(50))
    exact = torch.from_numpy(reference.distances(rows))
    off = ~torch.eye(50, dtype=torch.bool)
    assert 0.999 < float((lower * scout.scale / exact)[off].min())
    assert 1.001 > float((upper * scout.scale / exact)[off].max())


def test_bfloat16_bounds_are_within_two_per_cent_of_the_norm() -> None:
    """What rounding does is measured row by row, not bounded by the worst there could be."""
    rows = draw_rows("gaussian", 50, 256)
    scout = Products.of(rows, dtype=torch.bfloat16)
    lower, upper = scout.bounds(torch.arange(50))
    assert 0.02 * float(rows.norm(dim=1).max()) > float((upper - lower).max() * scout.scale)


@pytest.mark.parametrize("tile", [(32, 32), (32, 96), (64, 32), (1024, 8192)])
def test_tiles_hold_every_pair_once(monkeypatch: pytest.MonkeyPatch, tile: tuple[int, int]) -> None:
    """With all rows in reach, the hits are all pairs, at any size of the tiles."""
    monkeypatch.setattr(products, "_TILE_ROWS", tile[0])
    monkeypatch.setattr(products, "_TILE_COLUMNS", tile[1])
    scout = Products.of(draw_rows("gaussian", 150, 7))
    everywhere = torch.full((150,), 1e3, dtype=torch.float64)
    found = [
        pair
        for own, others in scout.tiles()
        for hits in [scout.hits(own, others, everywhere)]
        for pair in zip(hits.left.tolist(), hits.right.tolist(), strict=True)
    ]
    assert reference.pairs(150) == sorted(found)
    near = [scout.near(own, others, 1e3) for own, others in scout.tiles()]
    assert reference.pairs(150) == sorted(
        pair for hits in near for pair in zip(hits.left.tolist(), hits.right.tolist(), strict=True)
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_reach_beyond_all_numbers_meets_every_row_and_no_padding(dtype: torch.dtype) -> None:
    """Rows of norm 1e-30 and an eps of 1, whose square no float32 holds in their units."""
    scout = Products.of(draw_rows("gaussian", 5, 3), dtype=dtype)
    (own, others), *_ = scout.tiles()
    everywhere = torch.full((5,), 1e30, dtype=torch.float64)
    weights = torch.ones(5, dtype=torch.int64)
    for hits in (
        scout.near(own, others, 1e30),
        scout.hits(own, others, everywhere),
        scout.hits(own, others, everywhere, torch.ones_like(everywhere)),
    ):
        found = zip(hits.left.tolist(), hits.right.tolist(), strict=True)
        assert reference.pairs(5) == sorted(found)
    sure, open_ = scout.within(own, others, 1e30, weights)
    assert len(reference.pairs(5)) == sure + len(open_)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@given(rows=any_rows(), seed=SEEDS)
def test_no_pair_in_reach_is_missed(dtype: torch.dtype, rows: Tensor, seed: int) -> None:
    """Whatever each row's reach and stretch, at distances that are just in reach."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(rows), generator=generator)
    scout = Products.of(rows, order=order, dtype=dtype)
    exact = torch.from_numpy(reference.distances(rows)[order][:, order]) / scout.scale
    picked = torch.randint(0, len(rows), (len(rows),), generator=generator)
    reach = exact[torch.arange(len(rows)), picked]
    reach[torch.rand(len(rows), generator=generator) < 0.2] = -torch.inf
    stretch = torch.rand(len(rows), generator=generator, dtype=torch.float64) + 0.5
    wanted = exact <= torch.maximum(reach[:, None], reach) * stretch[:, None]
    expected = set(map(tuple, wanted.triu(1).nonzero().tolist()))
    (own, others), *_ = scout.tiles()
    hits = scout.hits(own, others, reach, stretch)
    assert expected <= set(zip(hits.left.tolist(), hits.right.tolist(), strict=True))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@given(rows=any_rows(), at=st.integers(0, 400))
def test_no_near_pair_is_missed(dtype: torch.dtype, rows: Tensor, at: int) -> None:
    """Within one reach for all, at distances that are just in reach."""
    scout = Products.of(rows, dtype=dtype)
    exact = torch.from_numpy(reference.distances(rows)) / scout.scale
    reach = float(exact.flatten().sort().values[at % exact.numel()])
    hits = scout.near(*next(iter(scout.tiles())), reach)
    expected = set(map(tuple, (exact <= reach).triu(1).nonzero().tolist()))
    assert expected <= set(zip(hits.left.tolist(), hits.right.tolist(), strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@given(rows=any_rows(), at=st.integers(0, 400), seed=SEEDS)
def test_pairs_surely_within_are_within(
    dtype: torch.dtype, rows: Tensor, at: int, seed: int
) -> None:
    """Counted ones are, open ones may be, and no pair within is neither; by weight."""
    scout = Products.of(rows, dtype=dtype)
    exact = reference.distances(rows)
    weights = torch.randint(1, 5, (len(rows),), generator=torch.Generator().manual_seed(seed))
    reach = np.sort(exact.ravel())[at % exact.size]
    sure, open_ = scout.within(*next(iter(scout.tiles())), reach / scout.scale, weights)
    pairs = [(i, j) for i, j in reference.pairs(len(rows)) if exact[i, j] <= reach]
    looked_at = zip(open_.left.tolist(), open_.right.tolist(), strict=True)
    decided = sure + sum(int(weights[i] * weights[j]) for i, j in looked_at if exact[i, j] <= reach)
    assert sum(int(weights[i] * weights[j]) for i, j in pairs) == decided


@given(rows=any_rows(), seed=SEEDS)
def test_no_pair_beyond_its_reach_is_missed(rows: Tensor, seed: int) -> None:
    """The search with the signs turned, under a lower bound of the prompts' distance."""
    scout = Products.of(rows)
    exact = torch.from_numpy(reference.distances(rows)) / scout.scale
    generator = torch.Generator().manual_seed(seed)
    least = torch.randint(1, 9, exact.shape, generator=generator).float()
    reach = exact[torch.arange(len(rows)), torch.randperm(len(rows), generator=generator)] / 3
    wanted = exact >= torch.minimum(reach[:, None], reach) * least
    hits = scout.beyond(*next(iter(scout.tiles())), reach, least)
    expected = set(map(tuple, wanted.triu(1).nonzero().tolist()))
    assert expected <= set(zip(hits.left.tolist(), hits.right.tolist(), strict=True))


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_products_of_full_rows_run_in_full_precision_whatever_is_set(precision: str) -> None:
    """A bfloat16 product would break the proved bound; the user's setting is put back."""
    before = torch.get_float32_matmul_precision()
    rows = draw_rows("gaussian", 256, 512)
    exact = (rows.double() @ rows.double().T).float()
    try:
        torch.set_float32_matmul_precision(precision)
        with precision_of(torch.float32):
            inside = rows @ rows.T
        assert precision == torch.get_float32_matmul_precision()
    finally:
        torch.set_float32_matmul_precision(before)
    torch.testing.assert_close(inside, exact, rtol=1e-4, atol=1e-3)


def test_the_newer_setting_is_put_back_too() -> None:
    """Where only one backend's precision was set, torch's older getter raises."""
    backend = torch.backends.mkldnn.matmul
    before = backend.fp32_precision
    rows = draw_rows("gaussian", 256, 512)
    exact = (rows.double() @ rows.double().T).float()
    try:
        backend.fp32_precision = "bf16"
        with precision_of(torch.float32):
            inside = rows @ rows.T
        assert backend.fp32_precision == "bf16"
    finally:
        backend.fp32_precision = before
    torch.testing.assert_close(inside, exact, rtol=1e-4, atol=1e-3)


def test_fast_products_of_bfloat16_values_lose_nothing() -> None:
    """Numbers without digits to lose: the sums are float32's."""
    rows = draw_rows("gaussian", 300, 512).bfloat16().float()
    with precision_of(torch.bfloat16):
        inside = rows @ rows.T
    torch.testing.assert_close(inside, (rows.double() @ rows.double().T).float(), rtol=0, atol=1e-3)


def test_a_machine_that_does_not_tell_its_units_gets_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Older torch has no such question; emulated bfloat16 would be slower than float32."""
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert torch.float32 == fastest_dtype(CPU)
