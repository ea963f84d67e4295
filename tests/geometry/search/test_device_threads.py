"""Several devices that share searches: here each of them is the processor."""

import threading
import time
from collections.abc import Generator, Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch

from pytest_injectivity.geometry.search.closest_pair import closest_pair
from pytest_injectivity.geometry.search.device_threads import DeviceThreads
from pytest_injectivity.geometry.search.near_pairs import pairs_within
from pytest_injectivity.geometry.search.neighbors import k_nearest
from pytest_injectivity.geometry.search.ratios import Extreme, extreme_ratios
from pytest_injectivity.prompts.metrics import PairDistances, PromptMetric
from tests.adversaries import draw_prompts, draw_rows
from tests.repetitions import mostly_slow
from tests.shared_searches import SMALL, same

TWO = DeviceThreads([torch.device("cpu")] * 2)


@pytest.mark.parametrize("kind", mostly_slow(["integer grid", "gaussian", "twins"], "twins"))
def test_devices_find_what_one_finds(kind: str) -> None:
    """Neighbors and pairs."""
    rows = draw_rows(kind, 300, 12)
    eps = float(torch.pdist(rows.double()).quantile(0.1))
    few = replace(SMALL, per_look=1e9)
    found = [
        [
            k_nearest(rows, 3, executor=executor, limits=SMALL),
            closest_pair(rows, executor=executor, limits=SMALL),
            pairs_within(rows, eps, executor=executor, limits=few),
        ]
        for executor in (None, TWO)
    ]
    assert [True] * 3 == [same(one, other) for one, other in zip(*found, strict=True)]


@pytest.mark.parametrize("extreme", ["smallest", "largest"])
def test_devices_find_the_ratios_that_one_finds(extreme: Extreme) -> None:
    """Each has a table of known prompt distances of its own."""
    rows, ids = draw_rows("integer grid", 300, 12), draw_prompts(300, 1)
    one, two = (
        extreme_ratios(
            rows,
            PairDistances(PromptMetric.LEVENSHTEIN, ids),
            extreme,
            executor=executor,
            limits=SMALL,
        )
        for executor in (None, TWO)
    )
    assert same(one, two)


def test_each_device_has_known_prompt_distances_of_its_own() -> None:
    """The table of them is not for several threads."""
    jobs: list[Any] = []

    class Spied(DeviceThreads):
        def map(self, job: Any, parts: Iterable[Any]) -> Generator[Any]:
            jobs.append(job)
            return super().map(job, parts)

    prompts = PairDistances(PromptMetric.LEVENSHTEIN, draw_prompts(100, 1))
    rows = draw_rows("integer grid", 100, 12)
    extreme_ratios(rows, prompts, "smallest", executor=Spied(TWO.devices), limits=SMALL)
    assert jobs[0].search.prompts is prompts
    assert jobs[0].to(TWO.devices[0]).search.prompts is not prompts


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is there")
def test_gpus_find_what_the_processor_finds() -> None:
    """All that there are; one of them twice where it is alone."""
    rows = draw_rows("twins", 3000, 64)
    gpus = [torch.device("cuda", at) for at in range(torch.cuda.device_count())]
    every = DeviceThreads(gpus if len(gpus) > 1 else 2 * gpus)
    assert same(k_nearest(rows, 3), k_nearest(rows.cuda(), 3, executor=every, limits=SMALL))


def test_results_are_in_the_order_of_the_parts() -> None:
    """Whichever ends first."""

    def slow_first(part: int) -> int:
        time.sleep(0.05 * (part == 0))
        return part

    assert list(range(6)) == list(TWO.map(slow_first, range(6)))


def test_an_error_is_raised_and_no_thread_is_left() -> None:
    """What a part raises."""

    def fails(part: int) -> int:
        if part == 1:
            raise ValueError(part)
        return part

    with pytest.raises(ValueError, match="1"):
        list(TWO.map(fails, range(100)))
    assert [] == [one for one in threading.enumerate() if one.name.startswith("injectivity-device")]


def test_no_more_parts_are_begun_once_nobody_takes_their_results() -> None:
    """Those that are under way are waited for."""
    begun: list[int] = []
    results = TWO.map(begun.append, range(100))
    assert next(results) is None
    results.close()
    assert len(begun) <= 5
