"""Pairs near the resolution in both distances: all of them, those of one-token prompts by their own."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.geometry.search.neighbors import nearest_neighbors
from pytest_injectivity.states.candidate_pairs import candidate_pairs, far_distance, far_radius
from pytest_injectivity.states.resolution import LayerResolution, Resolution
from pytest_injectivity.states.scaled import Scale


def _resolution(
    distance: float,
    radius: float,
    sigma: np.ndarray,
    usual: float = 0.3,
    median_norm: float = math.inf,
) -> Resolution:
    """The usual resolution is this share of the largest; no state is a sink without a median length."""
    shares = usual * distance, usual * radius
    return Resolution(
        *(2 * distance, "", distance, median_norm, Scale(sigma), radius, radius, *shares, 1, 0.0)
    )


def _slow(
    rows: np.ndarray, lengths: list[int], resolution: LayerResolution
) -> list[tuple[int, int]]:
    """Pairs within twice the usual, and no less than the largest, in both distances."""
    found = []
    for left in range(len(rows)):
        for right in range(left + 1, len(rows)):
            norms = [float(np.linalg.norm(rows[at])) for at in (left, right)]
            sides = [
                resolution.of(lengths[at] - 1).of_norm(norm)
                for at, norm in zip((left, right), norms, strict=True)
            ]
            sigma = np.maximum(sides[0].scale.values, sides[1].scale.values)
            off = rows[left] - rows[right]
            apart, scaled = (np.sqrt((one**2).sum()) for one in (off, off / sigma))
            near = apart <= max(max(side.ordinary, 2 * side.usual) for side in sides)
            near &= scaled <= max(
                max(side.ordinary_radius, 2 * side.usual_radius) for side in sides
            )
            if near:
                found.append((left, right))
    return found


@given(
    seed=st.integers(0, 500),
    ones=st.integers(0, 12),
    distances=st.tuples(st.sampled_from([0.01, 0.2, 0.5]), st.sampled_from([0.01, 0.2, 0.5])),
    radii=st.tuples(st.sampled_from([0.1, 0.7]), st.sampled_from([0.1, 0.7])),
    usual=st.sampled_from([0.3, 0.9]),
    median_norm=st.sampled_from([math.inf, 0.2]),
    known=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
def test_they_are_those_of_a_slow_loop(  # noqa: PLR0917 - what is drawn
    seed: int,
    ones: int,
    distances: tuple[float, float],
    radii: tuple[float, float],
    usual: float,
    median_norm: float,
    known: bool,  # noqa: FBT001 - drawn
    dtype: torch.dtype,
) -> None:
    """Some prompts of one token, whose resolution may be finer or coarser; some states are sinks."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(12, 3, generator=generator).to(dtype)
    sigma = torch.rand(2, 3, generator=generator).double().numpy() + 0.2
    first, later = (
        _resolution(*one, usual=usual, median_norm=median_norm)
        for one in zip(distances, radii, sigma, strict=True)
    )
    resolution = LayerResolution(later, lambda: first, 1)
    lengths = [1] * ones + [5] * (12 - ones)
    nearest = nearest_neighbors(rows).distance if known else None
    found = candidate_pairs(rows, lengths, resolution, limit=100, nearest=nearest)
    pairs = sorted(zip(found.left.tolist(), found.right.tolist(), strict=True))
    assert _slow(rows.double().numpy(), lengths, resolution) == pairs
    assert len(pairs) == found.count
    assert sorted(found.distance) == found.distance.tolist()


def test_more_than_are_listed_are_counted() -> None:
    """The closest are listed."""
    rows = torch.arange(10.0)[:, None].square()
    one = _resolution(1e3, 1e3, np.ones(1))
    found = candidate_pairs(rows, [2] * 10, LayerResolution(one, lambda: one, 1), limit=3)
    assert (45, [0, 1, 0]) == (found.count, found.left.tolist())


def test_a_pair_far_in_one_distance_is_no_candidate() -> None:
    """The closest pair and the last are far in the scaled distance, all are near in the Euclidean."""
    rows = torch.tensor([[0.0, 0.0], [0.0, 0.4], [0.6, 0.0]])
    one = _resolution(1.0, 1.0, np.array([1.0, 0.1]))
    found = candidate_pairs(rows, [2] * 3, LayerResolution(one, lambda: one, 1), limit=100)
    assert [(0, 2)] == list(zip(found.left.tolist(), found.right.tolist(), strict=True))


@pytest.mark.parametrize("sigma", [0.05, 20.0])
def test_none_of_many_rows_is_missed(sigma: float) -> None:
    """More rows than are all looked at: few are near in one distance, many in the other."""
    rows = torch.randn(400, 6, generator=torch.Generator().manual_seed(1))
    one = _resolution(0.8, 0.8 / sigma, np.full(6, sigma))
    one = replace(one, scale=Scale(np.linspace(0.5, 2.0, 6) * sigma))
    resolution = LayerResolution(one, lambda: one, 1)
    expected = _slow(rows.double().numpy(), [5] * 400, resolution)
    assert len(expected) > 10
    for nearest in (None, nearest_neighbors(rows).distance):
        found = candidate_pairs(rows, [5] * 400, resolution, limit=10**5, nearest=nearest)
        pairs = sorted(zip(found.left.tolist(), found.right.tolist(), strict=True))
        assert (len(expected), expected) == (found.count, pairs)


def test_the_other_distance_serves_where_one_lists_too_many() -> None:
    """All pairs are near in the Euclidean distance, and all but one far in the scaled one."""
    rows = torch.arange(10.0)[:, None].square()
    one = _resolution(1e3, 1.0, np.ones(1))
    found = candidate_pairs(rows, [2] * 10, LayerResolution(one, lambda: one, 1), limit=3)
    assert (1, [0], [1]) == (found.count, found.left.tolist(), found.right.tolist())


@pytest.mark.parametrize(("distance", "usual", "far"), [(1.0, 0.1, 1.0), (1.0, 0.75, 1.5)])
def test_far_is_twice_the_usual_and_no_less_than_the_largest(
    distance: float, usual: float, far: float
) -> None:
    """In either distance."""
    one = replace(_resolution(distance, distance, np.ones(1)), usual=usual, usual_radius=usual)
    assert far == far_distance(one) == far_radius(one)


def test_a_sink_in_the_sample_does_not_make_other_pairs_candidates() -> None:
    """Its rounding is coarser than all pairs are apart; a pair of sinks is held against it."""
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [400.0, 0.0], [400.0, 3.0]])
    one = replace(_resolution(0.2, 0.2, np.ones(2), median_norm=1.0), distance=4.0)
    found = candidate_pairs(rows, [2] * 4, LayerResolution(one, lambda: one, 1), limit=100)
    assert [(2, 3)] == list(zip(found.left.tolist(), found.right.tolist(), strict=True))


@pytest.mark.parametrize(
    ("norm", "ordinary"), [(8.0, 0.5), (9.0, 4.5), (8.5, 4.25), (100.0, 50.0), (math.nan, 0.5)]
)
def test_a_sink_is_resolved_no_finer_for_its_length_than_other_states(
    norm: float, ordinary: float
) -> None:
    """Beyond eight times the median length it is a sink; a length that is not a number is none."""
    one = _resolution(0.5, 1.0, np.ones(1), median_norm=1.0)
    assert ordinary == one.of_norm(norm).ordinary


def test_a_sink_is_resolved_no_finer_than_any_state_that_was_seen() -> None:
    """The largest distance is a sink's, and coarser than its length says."""
    one = replace(_resolution(0.5, 1.0, np.ones(1), median_norm=1.0), distance=60.0)
    found = one.of_norm(10.0)
    assert (60.0, 120.0) == (found.ordinary, found.ordinary_radius)
