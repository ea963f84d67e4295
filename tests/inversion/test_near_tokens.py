"""Pairs of tokens that have to be evaluated, against brute force over all pairs."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from pytest_injectivity.inversion.near_tokens import Reach, near_tokens
from pytest_injectivity.states.resolution import Resolution
from pytest_injectivity.states.scaled import Scale


def _rows(seed: int, dtype: torch.dtype) -> Tensor:
    """Thirty states of which coordinate 0 is an outlier, a few of them moved onto others."""
    rows = torch.randn(30, 8, generator=torch.Generator().manual_seed(seed))
    rows[:, 0] *= 1000
    rows[20:25] = rows[:5]
    rows[20:25, 1:] += 0.05 * (1 + torch.arange(5.0))[:, None]
    return rows.to(dtype)


def _within(rows: Tensor, reach: Reach) -> set[tuple[int, int]]:
    """By subtraction in float64, one pair after the other."""
    exact, scale = rows.double(), torch.from_numpy(reach.scale.values)
    return {
        (left, right)
        for left, right in combinations(range(len(rows)), 2)
        if (exact[left] - exact[right]).norm() <= reach.distance
        and ((exact[left] - exact[right]) / scale).norm() <= reach.radius
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("distance", [0.5, 50.0, 1e4])
@pytest.mark.parametrize("radius", [0.1, 3.0, 100.0])
def test_pairs_are_those_of_brute_force(dtype: torch.dtype, distance: float, radius: float) -> None:
    """Far in neither distance; the outlier coordinate makes the Euclidean one coarse."""
    sigma = np.array([8.0, *[0.05] * 7])
    reach = Reach(distance, radius, Scale(sigma))
    for seed in range(3):
        rows = _rows(seed, dtype)
        found = near_tokens(rows, reach, 10_000).pairs
        pairs = list(zip(found.left.tolist(), found.right.tolist(), strict=True))
        assert _within(rows, reach) == set(pairs)
        assert len(pairs) == found.count
        exact = [float((rows[a].double() - rows[b].double()).norm()) for a, b in pairs]
        assert exact == pytest.approx(found.distance.tolist(), rel=1e-12)


def test_what_is_not_looked_at_counts_as_near() -> None:
    """Beyond the limit nothing is known of the other distance."""
    rows = _rows(0, torch.float32)
    reach = Reach(0.0, 1e9, Scale(np.ones(8)))
    found = near_tokens(rows, reach, 30)
    assert (30 * 29 // 2 - 30, 0, 0) == (found.pairs.count, len(found.pairs.left), found.sampled)


@pytest.mark.parametrize("sample", [1, 7, 30, 99])
def test_too_many_pairs_are_counted_on_a_sample(sample: int) -> None:
    """Each pair of a sampled row once, by brute force; nothing is listed."""
    rows = _rows(1, torch.float32)
    reach = Reach(900.0, 1e9, Scale(np.ones(8)))
    found = near_tokens(rows, reach, 1, sample=sample)
    chosen = {round(at) for at in np.linspace(0, 29, min(sample, 30)).tolist()}
    expected = [pair for pair in _within(rows, reach) if chosen & set(pair)]
    assert (len(expected), min(sample, 30)) == (found.pairs.count, found.sampled)
    assert not len(found.pairs.left)


def test_the_reach_is_that_of_prompts() -> None:
    """Beyond the largest distance, sinks included, and twice the usual one a pair is resolved."""
    scale = Scale(np.ones(2))
    of = Resolution(2.0, "alone / padded", 0.5, 1.0, scale, 5.0, 2.0, 0.1, 3.0, 10, 0.0)
    reach = Reach.of(of)
    assert (2.0, 6.0) == (reach.distance, reach.radius)
    assert 7.0 == Reach.of(replace(of, radius=7.0)).radius  # attention sinks among the tokens
    assert reach.digest == Reach(1.0, 1.0, Scale(np.ones(2))).digest
    assert reach.digest != Reach(8.0, 12.0, Scale(np.array([1.0, 2.0]))).digest
