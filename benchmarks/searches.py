"""Searches shared among workers of Ray against one process: bits and seconds.

    OMP_NUM_THREADS=1 ./dev bench searches [--rows 20000 60000 --width 576 --workers 2 --runs 2]

So each worker computes on as many threads as the one process. Rows are normal, prompts share beginnings.
Each search is run by one process and by the workers in turn, whatever its size. Seconds of processor are
counted too, because they say on a busy machine as well what sharing costs: those of the one process, and
those of this process and of the workers together where they share.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import psutil
import torch
from side_by_side import table

from pytest_injectivity import RayWorkers
from pytest_injectivity.geometry.search.closest_pair import closest_pair
from pytest_injectivity.geometry.search.limits import SearchLimits
from pytest_injectivity.geometry.search.near_pairs import pairs_within
from pytest_injectivity.geometry.search.neighbors import nearest_neighbors
from pytest_injectivity.geometry.search.ratios import extreme_ratios
from pytest_injectivity.prompts.metrics import PairDistances, PromptMetric

# Shared whatever its size, and searched again each time.
SHARED = SearchLimits(shared_work=0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("searches", nargs="*", help="nearest, smallest, largest, closest, near")
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000])
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=2)
    given = parser.parse_args()
    executor = RayWorkers(given.workers)
    started = time.perf_counter()
    list(executor.map(abs, range(given.workers)))
    print(f"cluster and first workers started in {time.perf_counter() - started:.1f} s", flush=True)
    found = []
    for count in given.rows:
        every = searches(count, given.width)
        for name in given.searches or every:
            search, times, same = every[name], [], True
            for _ in range(given.runs):
                here, alone, work, _ = timed(search)
                shared = partial(search, executor=executor, limits=SHARED)
                there, together, own, theirs = timed(shared)
                times.append((alone, together, work, own, theirs))
                same &= bits(here) == bits(there)
            row = [f"{count:,}", name, *(shown(list(side)) for side in zip(*times, strict=True))]
            found.append((*row, f"{same}"))
            print(*found[-1], flush=True)
    executor.close()
    table(
        f"searches of rows of width {given.width}",
        (
            "rows",
            "search",
            "one process",
            f"{given.workers} workers",
            "processor: one process",
            "this one, sharing",
            "workers",
            "same bits",
        ),
        found,
    )


def searches(count: int, width: int) -> dict[str, Callable[..., Any]]:
    """Searches of as many rows, by name."""
    torch.manual_seed(0)
    draw = np.random.default_rng(0)
    rows = torch.randn(count, width)
    prompts = PairDistances(PromptMetric.LEVENSHTEIN, ids_of(draw, count))
    eps = float(np.quantile(torch.pdist(rows[:1000]), 0.01))
    every = np.arange(count)

    def ratios(extreme: Any, **shared: Any) -> Any:
        return extreme_ratios(rows, prompts.take(every, afresh=True), extreme, **shared)

    return {
        "nearest": partial(nearest_neighbors, rows),
        "smallest": partial(ratios, "smallest"),
        "largest": partial(ratios, "largest"),
        "closest": partial(closest_pair, rows),
        "near": partial(pairs_within, rows, eps),
    }


def ids_of(draw: np.random.Generator, count: int) -> list[list[int]]:
    """Prompts of 8 to 64 tokens, of which every sixteen begin alike and differ in their last three."""
    found = []
    for _ in range(-(-count // 16)):
        beginning = draw.integers(0, 5000, int(draw.integers(5, 62))).tolist()
        found += [beginning + draw.integers(0, 5000, 3).tolist() for _ in range(16)]
    return found[:count]


def timed(search: Callable[[], Any]) -> tuple[Any, float, float, float]:
    """What it finds, the seconds it takes, and those of processor: of this process and of workers."""
    started, own, theirs = time.perf_counter(), time.process_time(), of_workers()
    found = search()
    taken = time.perf_counter() - started
    return found, taken, time.process_time() - own, of_workers() - theirs


def of_workers() -> float:
    """Seconds of processor that living workers have used."""
    children = psutil.Process().children(recursive=True)
    workers = [one for one in children if one.name().startswith("ray::_Actor")]
    return float(sum(sum(one.cpu_times()[:2]) for one in workers))


def bits(found: Any) -> dict[str, bytes]:
    """What was found, but for how much was looked at."""
    fields = dataclasses.asdict(found)
    work = ("looked_at", "searched_again")
    return {name: np.asarray(one).tobytes() for name, one in fields.items() if name not in work}


def shown(seconds: list[float]) -> str:
    """Every time that was taken."""
    return ", ".join(f"{one:.1f}" for one in seconds) + " s"


if __name__ == "__main__":
    main()
