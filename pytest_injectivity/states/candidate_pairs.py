"""Finds the pairs of states near the resolution, in either distance (SPEC section 2).

Near is four times the usual resolution, and no less than the largest seen. In bfloat16 the largest of
some thousand distances is often five times the 99 % quantile, and four times the largest would be
farther than most nearest neighbours.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Int64
from pytest_injectivity.geometry.distances import pair_distances
from pytest_injectivity.geometry.search.near_pairs import NearPairs, pairs_within
from pytest_injectivity.states.resolution import LayerResolution, Resolution

TIMES = 4.0
"""Pairs within so many times the usual resolution are decided by evaluation."""

_BLOCK = 2**14


def near_distance(resolution: Resolution) -> float:
    """The distance within which a pair is near the resolution."""
    return max(resolution.distance, TIMES * resolution.usual)


def near_radius(resolution: Resolution) -> float:
    """The scaled distance within which a pair is near the resolution."""
    return max(resolution.radius, TIMES * resolution.usual_radius)


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
        limit: how many pairs to list; of those beyond, each search counts its own.

    Returns:
        Distances are Euclidean, whichever distance is near.
    """
    own = [resolution.of(length - 1) for length in lengths]
    most = Counter(own).most_common(1)[0][0]
    usual = np.array([one is most for one in own])
    euclidean = pairs_within(rows, near_distance(most), limit=limit)
    scaled = pairs_within(most.scale.searchable(rows), near_radius(most), limit=limit)
    keys = []
    for one in (euclidean, scaled):
        both = usual[one.left] & usual[one.right]
        keys.append(_keys(one.left[both], one.right[both], len(rows)))
    for row in np.flatnonzero(~usual).tolist():
        keys.append(_with(rows, row, np.flatnonzero(usual), own[row], most))
        keys.append(_with(rows, row, np.flatnonzero(~usual), own[row], own[row]))
    every = np.unique(np.concatenate(keys))
    left, right = np.divmod(every, len(rows))
    sides = [torch.from_numpy(side).to(rows.device) for side in (left, right)]
    distance = pair_distances(rows, *sides).cpu().numpy()
    order = np.lexsort((every, distance))[:limit]
    beyond = max(one.count - len(one.left) for one in (euclidean, scaled))
    return NearPairs(len(every) + beyond, left[order], right[order], distance[order])


def _with(
    rows: Float[Tensor, "n hidden"],
    row: int,
    among: Int64[np.ndarray, " others"],
    own: Resolution,
    theirs: Resolution,
) -> Int64[np.ndarray, " pairs"]:
    """The pairs of one row with others, by the coarser of both resolutions."""
    scale = own.scale.joined(theirs.scale)
    distance = max(near_distance(own), near_distance(theirs))
    radius = max(near_radius(own), near_radius(theirs))
    found = [among[:0]]
    for others in torch.split(torch.from_numpy(among).to(rows.device), _BLOCK):
        off = rows[others].double() - rows[row].double()
        within = torch.linalg.vector_norm(off, dim=1) <= distance
        within |= scale.norms(off) <= radius
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
