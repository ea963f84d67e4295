"""Extreme ratios of state distance to prompt distance, over all admissible pairs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.geometry.search.limits import DEFAULT_LIMITS, SearchLimits
from pytest_injectivity.geometry.search.neighbors import nearest_neighbors
from pytest_injectivity.geometry.search.ratios import Extreme, Ratios, extreme_ratios
from pytest_injectivity.geometry.search.resumable import SearchPart
from pytest_injectivity.prompts.metrics import PairDistances, PromptMetric
from tests import brute_force
from tests.adversaries import (
    FEW_KINDS,
    KINDS,
    SEEDS,
    Kept,
    any_rows,
    draw_prompts,
    draw_rows,
    exact_rows,
)
from tests.repetitions import mostly_slow

METRICS = tuple(metric.value for metric in PromptMetric)
EXTREMES: tuple[Extreme, ...] = ("smallest", "largest")

metrics = st.sampled_from(METRICS)
extremes = st.sampled_from(EXTREMES)


def search(
    rows: Tensor,
    ids: brute_force.Ids,
    metric: str,
    extreme: Extreme,
    limits: SearchLimits = DEFAULT_LIMITS,
) -> Ratios:
    """`extreme_ratios` by the name of the metric."""
    prompts = PairDistances(PromptMetric.parse(metric), ids)
    return extreme_ratios(rows, prompts, extreme, limits=limits)


@given(rows=any_rows(), metric=metrics, extreme=extremes, seed=SEEDS)
def test_any_rows_have_the_ratios_of_the_reference(
    rows: Tensor, metric: str, extreme: Extreme, seed: int
) -> None:
    """Of every kind, shape and dtype, under every metric; each partner attains its ratio."""
    ids = draw_prompts(len(rows), seed)
    table, found = brute_force.ratios(rows, ids, metric), search(rows, ids, metric, extreme)
    expected, partner = table.smallest() if extreme == "smallest" else table.largest()
    np.testing.assert_allclose(found.ratio, expected, rtol=1e-14)
    np.testing.assert_array_equal(found.partnered, partner >= 0)
    attained = table.ratio[np.arange(len(rows)), found.partner]
    np.testing.assert_allclose(attained[found.partnered], expected[partner >= 0], rtol=1e-14)
    assert table.admissible[np.arange(len(rows)), found.partner][found.partnered].all()


@given(rows=exact_rows(), metric=metrics, extreme=extremes, seed=SEEDS)
def test_ties_name_the_first_partner(
    rows: Tensor, metric: str, extreme: Extreme, seed: int
) -> None:
    """Where distances are exact, ratio and partner are the reference's bit for bit."""
    ids = draw_prompts(len(rows), seed)
    table, found = brute_force.ratios(rows, ids, metric), search(rows, ids, metric, extreme)
    expected, partner = table.smallest() if extreme == "smallest" else table.largest()
    np.testing.assert_array_equal(found.ratio, expected)
    np.testing.assert_array_equal(found.partner, partner)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("extreme", EXTREMES)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_many_rows_of_a_kind(kind: str, extreme: Extreme, metric: str) -> None:
    """Prompts of 1 to 12 tokens, so that the bounds of the metric prune for real."""
    rows = draw_rows(kind, 50, 8)
    ids = draw_prompts(50, 1, longest=12, vocab=5)
    table, found = brute_force.ratios(rows, ids, metric), search(rows, ids, metric, extreme)
    expected, _ = table.smallest() if extreme == "smallest" else table.largest()
    np.testing.assert_allclose(found.ratio, expected, rtol=1e-14)


@pytest.mark.parametrize("extreme", EXTREMES)
@pytest.mark.parametrize("kind", mostly_slow(sorted(KINDS), *FEW_KINDS))
@pytest.mark.parametrize("first_look", [1, 4])
def test_tile_size_and_first_look_change_nothing(
    kind: str, extreme: Extreme, first_look: int
) -> None:
    """Neither ratio nor partner, to the bit."""
    rows, ids = draw_rows(kind, 70, 5), draw_prompts(70)
    expected = search(rows, ids, "levenshtein", extreme)
    limits = SearchLimits(
        tile_rows=32, tile_columns=32, first_look=first_look, ratio_sample=1 + first_look
    )
    found = search(rows, ids, "levenshtein", extreme, limits)
    np.testing.assert_array_equal(expected.ratio, found.ratio)
    np.testing.assert_array_equal(expected.partner, found.partner)


@given(rows=any_rows(), metric=metrics, extreme=extremes, seed=SEEDS)
def test_prompt_order_does_not_matter(
    rows: Tensor, metric: str, extreme: Extreme, seed: int
) -> None:
    """Shuffled prompts have the same ratios, to the bit."""
    ids = draw_prompts(len(rows), seed)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    plain = search(rows, ids, metric, extreme)
    shuffled = search(rows[order], [ids[at] for at in order], metric, extreme)
    np.testing.assert_array_equal(plain.ratio[order], shuffled.ratio)


@given(rows=any_rows(), metric=st.sampled_from(("levenshtein", "hamming")), seed=SEEDS)
def test_the_smallest_ratio_lies_between_the_margin_and_its_share(
    rows: Tensor, metric: str, seed: int
) -> None:
    """``m / D <= alpha <= m`` over the same admissible pairs (SPEC section 2)."""
    ids = draw_prompts(len(rows), seed)
    table = brute_force.ratios(rows, ids, metric)
    if not table.admissible.any():
        return
    at = np.nonzero(table.admissible)
    margin = brute_force.distances(rows)[at].min()
    largest = max(
        brute_force.prompt_distance(metric, ids[i], ids[j]) for i, j in zip(*at, strict=True)
    )
    alpha = np.nanmin(search(rows, ids, metric, "smallest").ratio)
    assert margin / largest * (1 - 1e-15) <= alpha <= margin * (1 + 1e-15)


@given(rows=any_rows(), metric=metrics)
def test_one_edit_apart_ratios_are_distances(rows: Tensor, metric: str) -> None:
    """Prompts of one token: every metric is 1, and the ratios are those of the neighbors."""
    ids = [[at] for at in range(len(rows))]
    found = search(rows, ids, metric, "smallest")
    np.testing.assert_array_equal(nearest_neighbors(rows).distance, found.ratio)


@given(rows=any_rows(), metric=metrics, extreme=extremes, power=st.integers(-8, 8), seed=SEEDS)
def test_scaling_by_a_power_of_two_is_exact(
    rows: Tensor, metric: str, extreme: Extreme, power: int, seed: int
) -> None:
    """Ratios scale to the bit and partners stay, in float64, where nothing overflows."""
    rows, ids = rows.double(), draw_prompts(len(rows), seed)
    plain = search(rows, ids, metric, extreme)
    scaled = search(rows * 2.0**power, ids, metric, extreme)
    np.testing.assert_array_equal(plain.ratio * 2.0**power, scaled.ratio)
    np.testing.assert_array_equal(plain.partner, scaled.partner)


def test_rows_without_a_partner_are_told() -> None:
    """Hamming compares equal lengths only: the one prompt of three tokens stands alone."""
    rows = torch.tensor([[0.0], [3.0], [10.0], [12.0]])
    found = search(rows, [[1, 2], [2, 1], [1, 2, 3], [5, 2]], "hamming", "smallest")
    np.testing.assert_array_equal([1.5, 1.5, np.nan, 4.5], found.ratio)
    assert [1, 0, -1, 1] == found.partner.tolist()
    assert [True, True, False, True] == found.partnered.tolist()


@pytest.mark.parametrize("extreme", EXTREMES)
def test_two_rows_have_one_ratio(extreme: Extreme) -> None:
    """The smallest set there is: 6 apart over 3 edits."""
    rows = torch.tensor([[1.0], [7.0]])
    found = search(rows, [[1, 2, 3], [4, 5, 6]], "levenshtein", extreme)
    assert [2.0, 2.0] == found.ratio.tolist()
    assert [1, 0] == found.partner.tolist()


def test_equal_rows_of_different_prompts_have_ratio_zero() -> None:
    """An exact collision is a co-Lipschitz constant of 0, named at its first partner."""
    rows = torch.ones(5, 3)
    found = search(rows, [[1], [2], [3, 4], [5], [6]], "levenshtein", "smallest")
    assert [0.0] * 5 == found.ratio.tolist()
    assert [1, 0, 0, 0, 0] == found.partner.tolist()


def test_few_prompt_distances_are_computed() -> None:
    """One a pair of rows at least, of 89,700: the bound on the metric spares nearly all."""
    generator = torch.Generator().manual_seed(3)
    ids = [torch.randint(0, 500, (64,), generator=generator).tolist() for _ in range(300)]
    found = search(draw_rows("gaussian", 300, 64), ids, "levenshtein", "smallest")
    assert 150 <= found.looked_at < 3_000


def test_equal_rows_need_no_prompt_distance() -> None:
    """A class of 300 equal rows, as at layer 0, is 89,700 zeros whatever the edit distances are."""
    generator = torch.Generator().manual_seed(3)
    ids = [torch.randint(0, 500, (64,), generator=generator).tolist() for _ in range(300)]
    found = search(draw_rows("gaussian", 1, 64).repeat(300, 1), ids, "levenshtein", "smallest")
    assert (0.0, 0) == (float(found.ratio.max()), found.looked_at)


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize("extreme", EXTREMES)
def test_fewer_than_two_rows_have_no_ratio(n: int, extreme: Extreme) -> None:
    """What is left of a layer whose rows are not finite is not an error here."""
    found = search(torch.ones(n, 3), [[1]] * n, "levenshtein", extreme)
    np.testing.assert_array_equal(np.full(n, np.nan), found.ratio)
    assert not found.partnered.any()


@pytest.mark.parametrize("extreme", EXTREMES)
def test_a_search_goes_on_from_the_parts_that_are_remembered(extreme: Extreme) -> None:
    """Ended after two parts and begun anew, it makes only the others and finds the same."""
    rows = draw_rows("gaussian", 400, 5)
    prompts = PairDistances(PromptMetric.parse("levenshtein"), draw_prompts(len(rows)))
    tiles = SearchLimits(tile_rows=64, tile_columns=64)
    parts = replace(tiles, part_pairs=len(rows) ** 2 // 8)
    whole = extreme_ratios(rows, prompts, extreme, limits=tiles)
    kept = Kept()
    with pytest.raises(KeyboardInterrupt):
        extreme_ratios(rows, prompts, extreme, remember=kept.until(2), limits=parts)
    found = extreme_ratios(rows, prompts, extreme, remember=kept, limits=parts)
    assert [SearchPart(part, 5) for part in range(1, 6)] == list(kept.made)
    np.testing.assert_array_equal(found.ratio, whole.ratio)
    np.testing.assert_array_equal(found.partner, whole.partner)
