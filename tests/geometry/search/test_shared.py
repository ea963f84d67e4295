"""Searches that are shared among workers find what one process finds, to the last bit."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.errors import WorkersDied
from pytest_injectivity.geometry.search.closest_pair import closest_pair
from pytest_injectivity.geometry.search.near_pairs import pairs_within
from pytest_injectivity.geometry.search.neighbors import k_nearest
from pytest_injectivity.geometry.search.products import Products
from pytest_injectivity.geometry.search.ratios import Extreme, extreme_ratios
from pytest_injectivity.geometry.search.resumable import SearchPart
from pytest_injectivity.prompts.metrics import PairDistances, PromptMetric
from tests.adversaries import DTYPES, KINDS, SEEDS, Kept, draw_prompts, draw_rows, exact_rows
from tests.executors import InTurn, sent
from tests.repetitions import mostly_slow
from tests.shared_searches import SMALL, same

EXTREMES: tuple[Extreme, ...] = ("smallest", "largest")

QUICK_METRICS = (PromptMetric.LEVENSHTEIN, PromptMetric.HAMMING_PER_LENGTH)


@pytest.fixture(params=mostly_slow(sorted(KINDS), "integer grid"))
def rows(request: pytest.FixtureRequest) -> Tensor:
    """Rows of a kind."""
    return draw_rows(request.param, 200, 12)


@pytest.mark.parametrize("k", [1, 4])
def test_neighbors_are_those_of_one_process(rows: Tensor, k: int) -> None:
    """Distances, and of several nearest rows the first."""
    executor = InTurn()
    assert same(k_nearest(rows, k), k_nearest(rows, k, executor=executor, limits=SMALL))
    assert executor.ran > 1


def test_rows_that_crowd_are_searched_again_by_workers() -> None:
    """In float64; the search of tiles could not tell them apart."""
    rows, executor = draw_rows("twins", 200, 12), InTurn()
    crowded = replace(SMALL, candidates=8, again_elements=1000)
    found = k_nearest(rows, 2, executor=executor, limits=replace(crowded, part_pairs=10**6))
    assert same(k_nearest(rows, 2), found)
    assert found.searched_again > 100
    # Of 200 rows 28 tiles and 7 blocks, in 8 shares of each; and as many of the rows searched again.
    assert 7 + 8 + 8 == executor.ran


def test_rows_that_a_worker_gives_up_are_searched_again() -> None:
    """It has no room for all of their candidates."""
    rows, executor = draw_rows("twins", 400, 12), InTurn()
    limits = replace(SMALL, tile_rows=256, tile_columns=416, candidates=8, held=1)
    found = k_nearest(rows, 2, executor=executor, limits=replace(limits, part_pairs=10**6))
    assert same(k_nearest(rows, 2), found)
    assert found.searched_again > 100


def test_the_closest_pair_is_that_of_one_process(rows: Tensor) -> None:
    """Of several such pairs the first, along a few directions and by whole rows."""
    here = closest_pair(rows)
    along = replace(SMALL, axes=4, few_near=1.0)
    found = [closest_pair(rows, executor=InTurn(), limits=limits) for limits in (SMALL, along)]
    assert [True, True] == [same(here, one) for one in found]


@pytest.mark.parametrize("share", [0.01, 0.5])
@pytest.mark.parametrize("limit", mostly_slow([0, 20, 10_000], 20))
def test_near_pairs_are_those_of_one_process(rows: Tensor, share: float, limit: int) -> None:
    """The count, and those that are listed."""
    eps = float(np.quantile(torch.pdist(rows.double()), share))
    here = pairs_within(rows, eps, limit=limit)
    looked_at, counted = (replace(SMALL, per_look=1e9, many_near=many) for many in (1e9, 0.0))
    found = [
        pairs_within(rows, eps, limit=limit, executor=InTurn(), limits=limits)
        for limits in (looked_at, counted)
    ]
    assert [True, True] == [same(here, one) for one in found]


def test_near_pairs_and_the_closest_one_are_looked_for_by_workers() -> None:
    """Where distances are of many sizes; equal rows, and rows equally far apart, need no search."""
    rows, near, closest = draw_rows("gaussian", 200, 12), InTurn(), InTurn()
    eps = float(np.quantile(torch.pdist(rows.double()), 0.01))
    pairs_within(rows, eps, executor=near, limits=replace(SMALL, per_look=1e9))
    closest_pair(rows, executor=closest, limits=SMALL)
    assert near.ran > 1
    assert closest.ran > 1


@pytest.mark.parametrize("metric", mostly_slow(PromptMetric, *QUICK_METRICS))
@pytest.mark.parametrize("extreme", EXTREMES)
def test_ratios_are_those_of_one_process(
    rows: Tensor, extreme: Extreme, metric: PromptMetric
) -> None:
    """Of several partners with one ratio the first, and none where none is admissible."""
    prompts, executor = PairDistances(metric, draw_prompts(len(rows), 3)), InTurn()
    here = extreme_ratios(rows, prompts, extreme)
    assert same(here, extreme_ratios(rows, prompts, extreme, executor=executor, limits=SMALL))
    assert executor.ran > 4


@given(rows=exact_rows(), extreme=st.sampled_from(EXTREMES), k=st.integers(1, 3), seed=SEEDS)
def test_ties_are_decided_as_by_one_process(
    rows: Tensor, extreme: Extreme, k: int, seed: int
) -> None:
    """Where many distances are equal, and so are rows."""
    prompts = PairDistances(PromptMetric.LEVENSHTEIN, draw_prompts(len(rows), seed))
    k, tiny = min(k, len(rows) - 1), replace(SMALL, tile_rows=32, tile_columns=32, part_pairs=64)

    def found(**shared: Any) -> tuple[Any, ...]:
        return (
            k_nearest(rows, k, **shared),
            closest_pair(rows, **shared),
            extreme_ratios(rows, prompts, extreme, **shared),
        )

    every = zip(found(), found(executor=InTurn(), limits=tiny), strict=True)
    assert [True] * 3 == [same(here, there) for here, there in every]


def test_a_small_search_stays_in_this_process() -> None:
    """Sending would cost more."""
    rows, executor = draw_rows("gaussian", 200, 12), InTurn()
    k_nearest(rows, 1, executor=executor, limits=replace(SMALL, shared_work=10**9))
    assert 0 == executor.ran


def test_as_many_threads_as_there_are_here_gain_nothing() -> None:
    """This process has them without sending anything."""
    rows, executor = draw_rows("gaussian", 200, 12), InTurn()
    executor.threads = torch.get_num_threads()
    k_nearest(rows, 1, executor=executor, limits=SMALL)
    assert 0 == executor.ran


@pytest.mark.parametrize("ended", mostly_slow([0, 1, 2], 1))
def test_a_shared_search_goes_on_where_another_was_ended(ended: int) -> None:
    """Whether that one was shared or not."""
    rows = draw_rows("integer grid", 300, 12)
    alone: dict[str, Any] = {"limits": replace(SMALL, part_pairs=10_000)}
    shared = alone | {"executor": InTurn()}
    found, made = [], []
    for first, second in ((alone, shared), (shared, alone), (shared, shared)):
        kept = Kept()
        with pytest.raises(KeyboardInterrupt):
            k_nearest(rows, 2, remember=kept.until(ended), **first)
        found.append(k_nearest(rows, 2, remember=kept, **second))
        made.append(list(kept.made))
    assert [True] * 3 == [same(k_nearest(rows, 2), one) for one in found]
    assert [[SearchPart(part, 5) for part in range(1, 6)]] * 3 == made


def test_a_part_that_another_process_found_meanwhile_is_taken() -> None:
    """And the next ones are handed out again by what it found."""
    rows, executor = draw_rows("twins", 300, 12), InTurn()
    limits = replace(SMALL, part_pairs=10_000)
    other, kept = Kept(), Kept()
    k_nearest(rows, 2, remember=other, limits=limits)

    def remember(part: SearchPart, compute: Callable[[], Any]) -> Any:
        return (other if part.number in (2, 3) else kept)(part, compute)

    found = k_nearest(rows, 2, remember=remember, executor=executor, limits=limits)
    assert same(k_nearest(rows, 2), found)
    assert [SearchPart(part, 5) for part in (1, 4, 5)] == list(kept.made)


def test_an_error_of_a_worker_ends_the_search() -> None:
    """It is the caller's."""
    rows = draw_rows("gaussian", 200, 12)
    with pytest.raises(WorkersDied, match="gone"):
        k_nearest(rows, 1, executor=InTurn(stop=(5, WorkersDied("gone"))), limits=SMALL)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tensor_is_sent_as_it_is(dtype: torch.dtype) -> None:
    """Numpy has no bfloat16."""
    products = Products.of(torch.randn(40, 8).to(dtype), dtype=dtype)
    there = sent(products)
    assert torch.equal(products.rounded, there.rounded)
    assert (dtype, 40) == (there.rounded.dtype, len(there))
