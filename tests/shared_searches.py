"""What tests of searches that are shared among workers have in common."""

import dataclasses
from typing import Any

import numpy as np

from pytest_injectivity.geometry.search.limits import SearchLimits

# Tiles so small that a few hundred rows have dozens, in several parts.
SMALL = SearchLimits(
    tile_rows=32,
    tile_columns=64,
    part_pairs=20_000,
    shared_work=0,
    sample=32,
    few_rows=64,
    few_pairs=16,
    ratio_sample=16,
)


def same(one: Any, other: Any) -> bool:
    """Whether two results are equal to the last bit, but for how much was looked at."""
    left, right = (
        {name: np.asarray(value).tobytes() for name, value in dataclasses.asdict(found).items()}
        for found in (one, other)
    )
    work = {"looked_at": b"", "searched_again": b""}
    return left | work == right | work
