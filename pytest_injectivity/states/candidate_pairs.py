"""Finds the pairs of states near the resolution, in either distance (SPEC section 2).

Near is four times the usual resolution, and no less than the largest seen. In bfloat16 the largest of
some thousand distances is often five times the 99 % quantile, and four times the largest would be
farther than most nearest neighbors.

A pair is unresolved where, in both distances, its prompts' evaluations are no farther apart than either
prompt's are from themselves. By the triangle inequality its states as captured are then within three
times that. So a pair farther than three times the usual resolution, and than the largest, in one of the
two distances is resolved in it. It is no candidate, however near it is in the other, unless it is the
closest of all that are near. On real weights in bfloat16 many pairs are near in the Euclidean distance
and few in the scaled one.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Bool, Float, Float64, Int64
from pytest_injectivity.geometry.distances import pair_distances
from pytest_injectivity.geometry.search.near_pairs import NearPairs, pairs_within
from pytest_injectivity.states.resolution import LayerResolution, Resolution

TIMES = 4.0
"""Pairs within so many times the usual resolution are near."""

_WITHIN = 3.0

_BLOCK = 2**14


def near_distance(resolution: Resolution) -> float:
    """The distance within which a pair is near the resolution."""
    return max(resolution.distance, TIMES * resolution.usual)


def near_radius(resolution: Resolution) -> float:
    """The scaled distance within which a pair is near the resolution."""
    return max(resolution.radius, TIMES * resolution.usual_radius)


def far_distance(resolution: Resolution) -> float:
    """The distance beyond which a pair is resolved without an evaluation: no more than the near one."""
    return max(resolution.distance, _WITHIN * resolution.usual)


def far_radius(resolution: Resolution) -> float:
    """The scaled distance beyond which a pair is resolved without an evaluation."""
    return max(resolution.radius, _WITHIN * resolution.usual_radius)


def candidate_pairs(
    rows: Float[Tensor, "n hidden"],
    lengths: Sequence[int],
    resolution: LayerResolution,
    *,
    limit: int,
) -> NearPairs:
    """The pairs of distinct rows near the resolution, the closest of them listed.

    Args:
        rows: finite states, no two of them equal.
        lengths: tokens of the prompt of each row; a prompt of one token uses position 0's resolution.
        resolution: of the layer.
        limit: how many pairs to list; where more are near, those beyond are counted as candidates
            without a look at their other distance.

    Returns:
        Distances are Euclidean, whichever distance is near.
    """
    own = [resolution.of(length - 1) for length in lengths]
    most = Counter(own).most_common(1)[0][0]
    usual = np.array([one is most for one in own])
    found, beyond = _of_usual(rows, usual, most, limit)
    keys = [found]
    for row in np.flatnonzero(~usual).tolist():
        keys.append(_with(rows, row, np.flatnonzero(usual), own[row], most))
        keys.append(_with(rows, row, np.flatnonzero(~usual), own[row], own[row]))
    every = np.unique(np.concatenate(keys))
    left, right = np.divmod(every, len(rows))
    distance = _distances(rows, every)
    order = np.lexsort((every, distance))[:limit]
    return NearPairs(len(every) + beyond, left[order], right[order], distance[order])


def _of_usual(
    rows: Float[Tensor, "n hidden"], usual: Bool[np.ndarray, " n"], of: Resolution, limit: int
) -> tuple[Int64[np.ndarray, " pairs"], int]:
    """The candidates of one resolution, and how many pairs beyond the limit were not looked at."""
    scaled = of.scale.searchable(rows)
    near = [
        pairs_within(rows, near_distance(of), limit=limit),
        pairs_within(scaled, near_radius(of), limit=limit),
    ]
    beyond = max(one.count - len(one.left) for one in near)
    if beyond:
        # No candidate is far in either distance, so that one of these may hold all of them.
        for space, far in ((scaled, far_radius(of)), (rows, far_distance(of))):
            within = pairs_within(space, far, limit=limit)
            if within.count <= limit:
                near, beyond = [within], 0
                break
    every = np.unique(np.concatenate([_keys(one.left, one.right, len(rows)) for one in near]))
    left, right = np.divmod(every, len(rows))
    every = every[usual[left] & usual[right]]
    distance = _distances(rows, every)
    kept = (distance <= far_distance(of)) & (_distances(scaled, every) <= far_radius(of))
    # Of the closest pair it is shown how it is decided.
    kept[np.argsort(distance)[:1]] = True
    return every[kept], beyond


def _distances(
    rows: Float[Tensor, "n hidden"], pairs: Int64[np.ndarray, " pairs"]
) -> Float64[np.ndarray, " pairs"]:
    sides = [torch.from_numpy(side).to(rows.device) for side in np.divmod(pairs, len(rows))]
    distances: np.ndarray = pair_distances(rows, *sides).cpu().numpy()
    return distances


def _with(
    rows: Float[Tensor, "n hidden"],
    row: int,
    among: Int64[np.ndarray, " others"],
    own: Resolution,
    theirs: Resolution,
) -> Int64[np.ndarray, " pairs"]:
    """The pairs of one row with others, by the coarser of both resolutions."""
    scale = own.scale.joined(theirs.scale)
    far, far_scaled = (max(of(own), of(theirs)) for of in (far_distance, far_radius))
    found = [among[:0]]
    for others in torch.split(torch.from_numpy(among).to(rows.device), _BLOCK):
        off = rows[others].double() - rows[row].double()
        within = torch.linalg.vector_norm(off, dim=1) <= far
        within &= scale.norms(off) <= far_scaled
        found.append(others[within].cpu().numpy())
    near: np.ndarray = np.concatenate(found)
    near = near[near != row]
    return _keys(np.full(len(near), row), near, len(rows))


def _keys(
    left: Int64[np.ndarray, " pairs"], right: Int64[np.ndarray, " pairs"], n: int
) -> Int64[np.ndarray, " pairs"]:
    """One number for each unordered pair."""
    keys: np.ndarray = np.minimum(left, right) * n + np.maximum(left, right)
    return keys
