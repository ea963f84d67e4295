"""Finds the pairs of states near the resolution, in both distances (SPEC section 2).

A pair is unresolved where, in both distances, its prompts' evaluations are no farther apart than either
prompt's are from themselves. Rounding goes in unrelated directions, so that its differences add in
squares: such a pair's states as captured are about as close as that. Of 4,154 pairs that were evaluated
the unresolved lay within 1.06 times the usual resolution (docs/log.md). So a pair farther than twice the
usual resolution, and than the largest, in one of the two distances is resolved in it and needs no
evaluation, however near it is in the other. On real weights in bfloat16 many pairs are near in the
Euclidean distance and few in the scaled one.

Twice the usual, and no less than the largest: in bfloat16 the largest of some thousand distances is
often five times the 99 % quantile, and a multiple of the largest would be farther than most nearest
neighbors. The largest of states that are no attention sinks: a single sink rounds more coarsely than
most pairs of other states are apart. A sink itself is held against a resolution of its own.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64, Int64
from pytest_injectivity.geometry.distances import pair_distances
from pytest_injectivity.geometry.search.near_pairs import NearPairs, pairs_within
from pytest_injectivity.states.resolution import LayerResolution, Resolution

_WITHIN = 2.0

_BLOCK = 2**14


def far_distance(resolution: Resolution) -> float:
    """The distance beyond which a pair is resolved without an evaluation."""
    return max(resolution.ordinary, _WITHIN * resolution.usual)


def far_radius(resolution: Resolution) -> float:
    """The scaled distance beyond which a pair is resolved without an evaluation."""
    return max(resolution.ordinary_radius, _WITHIN * resolution.usual_radius)


def candidate_pairs(
    rows: Float[Tensor, "n hidden"],
    lengths: Sequence[int],
    resolution: LayerResolution,
    *,
    limit: int,
    nearest: Float64[np.ndarray, " n"] | None = None,
) -> NearPairs:
    """The pairs of distinct rows near the resolution in both distances, the closest of them listed.

    Args:
        rows: finite states, no two of them equal.
        lengths: tokens of the prompt of each row; a prompt of one token uses position 0's resolution,
            an attention sink one of its own.
        resolution: of the layer.
        limit: how many pairs to list; where more are near in either distance, those beyond count as
            candidates without a look at their other distance.
        nearest: the Euclidean distance of each row from its nearest neighbor, where the caller has it:
            rows without a near one are left out of the search.

    Returns:
        Distances are Euclidean, whichever distance is near.
    """
    norms = torch.linalg.vector_norm(rows.double(), dim=1).tolist()
    own = [
        resolution.of(length - 1).of_norm(norm) for length, norm in zip(lengths, norms, strict=True)
    ]
    most = Counter(own).most_common(1)[0][0]
    usual = np.array([one is most for one in own])
    taking_part = usual if nearest is None else usual & (nearest <= far_distance(most))
    found, beyond = _of_usual(rows, np.flatnonzero(taking_part), most, limit)
    others = np.flatnonzero(~usual).tolist()
    keys = [found, *(_with(rows, others, own) if others else ())]
    every = np.unique(np.concatenate(keys))
    left, right = np.divmod(every, len(rows))
    distance = _distances(rows, every)
    order = np.lexsort((every, distance))[:limit]
    return NearPairs(len(every) + beyond, left[order], right[order], distance[order])


def _of_usual(
    rows: Float[Tensor, "n hidden"], among: Int64[np.ndarray, " some"], of: Resolution, limit: int
) -> tuple[Int64[np.ndarray, " pairs"], int]:
    """The candidates among some rows of one resolution, and how many pairs were not looked at."""
    some = rows if len(among) == len(rows) else rows[torch.from_numpy(among).to(rows.device)]
    scaled = of.scale.searchable(some)
    # No candidate is far in either distance, so that the pairs near in one of them hold all.
    within = pairs_within(scaled, far_radius(of), limit=limit)
    if within.count > limit:
        euclidean = pairs_within(some, far_distance(of), limit=limit)
        within = min(within, euclidean, key=lambda one: one.count)
    pairs = _keys(within.left, within.right, len(some))
    kept = _distances(some, pairs) <= far_distance(of)
    kept &= _distances(scaled, pairs) <= far_radius(of)
    left, right = (among[side] for side in np.divmod(pairs[kept], len(some)))
    return _keys(left, right, len(rows)), within.count - len(pairs)


def _distances(
    rows: Float[Tensor, "n hidden"], pairs: Int64[np.ndarray, " pairs"]
) -> Float64[np.ndarray, " pairs"]:
    sides = [torch.from_numpy(side).to(rows.device) for side in np.divmod(pairs, len(rows))]
    distances: np.ndarray = pair_distances(rows, *sides).cpu().numpy()
    return distances


def _with(
    rows: Float[Tensor, "n hidden"], chosen: Sequence[int], own: Sequence[Resolution]
) -> Iterator[Int64[np.ndarray, " pairs"]]:
    """The pairs of each chosen row with all others, by the coarser of both resolutions."""
    far, far_scaled = (
        torch.tensor([of(one) for one in own], dtype=torch.float64, device=rows.device)
        for of in (far_distance, far_radius)
    )
    # A sink's resolution of each coordinate is that of its position.
    groups = [
        (scale, torch.tensor([one.scale is scale for one in own], device=rows.device))
        for scale in {id(one.scale): one.scale for one in own}.values()
    ]
    parts = [
        (scale, others)
        for scale, alike in groups
        for others in torch.split(alike.nonzero()[:, 0], _BLOCK)
    ]
    for row in chosen:
        for scale, others in parts:
            off = rows[others].double() - rows[row].double()
            within = torch.linalg.vector_norm(off, dim=1) <= far[others].clamp(min=far[row])
            scaled = own[row].scale.joined(scale).norms(off)
            within &= scaled <= far_scaled[others].clamp(min=far_scaled[row])
            near: np.ndarray = others[within & (others != row)].cpu().numpy()
            yield _keys(np.full(len(near), row), near, len(rows))


def _keys(
    left: Int64[np.ndarray, " pairs"], right: Int64[np.ndarray, " pairs"], n: int
) -> Int64[np.ndarray, " pairs"]:
    """One number for each unordered pair."""
    keys: np.ndarray = np.minimum(left, right) * n + np.maximum(left, right)
    return keys
