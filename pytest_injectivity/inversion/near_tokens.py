"""Pairs of tokens at one place that the resolution may not tell apart, among the states of a vocabulary.

A pair that is far beyond the resolution in one of the two distances, Euclidean or scaled, is resolved
in it by the triangle inequality, however near it is in the other (SPEC section 2). Only pairs that are
far in neither have to be evaluated. They are looked for in the scaled distance: in 16 bits the Euclidean
distance is as coarse as the coarsest coordinate and leaves most pairs of a vocabulary.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.executor import Executor
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.geometry.distances import pair_distances
from pytest_injectivity.geometry.search.near_pairs import NearPairs, pairs_within
from pytest_injectivity.inversion.one_step import distances_from_each
from pytest_injectivity.states.candidate_pairs import far_distance, far_radius
from pytest_injectivity.states.resolution import Resolution
from pytest_injectivity.states.scaled import Scale

# Times the limit: so many pairs are not counted one by one.
_TOO_MANY = 10


@dataclass(frozen=True, eq=False)
class Reach:
    """How near two tokens have to be for the resolution to matter.

    Attributes:
        distance: beyond which a pair is resolved, in the states' units.
        radius: the scaled distance beyond which a pair is resolved.
        scale: the resolution of each coordinate.
    """

    distance: float
    radius: float
    scale: Scale

    @classmethod
    def of(cls, resolution: Resolution) -> "Reach":
        """The reach of the resolution at one group of positions, attention sinks among the tokens."""
        distance = max(resolution.distance, far_distance(resolution))
        radius = max(resolution.radius, far_radius(resolution))
        return cls(distance, radius, resolution.scale)

    @property
    def digest(self) -> str:
        """A name for the scale: equal for equal numbers."""
        values = np.ascontiguousarray(self.scale.values)
        return hashlib.sha256(values.tobytes()).hexdigest()[:40]


@dataclass(frozen=True, eq=False)
class NearTokens:
    """The pairs of tokens at one place that have to be evaluated.

    Attributes:
        pairs: row indexes, smaller first, the closest in the scaled distance first; distances are
            Euclidean.
        sampled: 0 where all pairs are counted. Where there are too many to list, so many rows were
            compared with all others, and the count is of the pairs that these are in.
    """

    pairs: NearPairs
    sampled: int = 0


def near_tokens(
    rows: Float[Tensor, "tokens hidden"],
    reach: Reach,
    limit: int,
    *,
    sample: int = 128,
    executor: Executor | None = None,
) -> NearTokens:
    """The pairs of states within reach in both distances, the closest in the scaled one first.

    Args:
        rows: finite states of one place, no two of them equal.
        reach: of the place.
        limit: how many pairs within the radius are looked at; of those beyond it all are counted,
            unless a sample of the rows shows ten times as many.
        sample: how many rows, evenly spread, are compared with all others first.
        executor: workers that a large search is shared among.
    """
    seen = _seen(rows, reach, sample)
    # Each pair is met from both of its rows.
    if seen * len(rows) > 2 * _TOO_MANY * limit * min(sample, len(rows)):
        none = np.zeros(0, dtype=np.int64)
        return NearTokens(NearPairs(seen, none, none, np.zeros(0)), min(sample, len(rows)))
    searchable = reach.scale.searchable(rows)
    scaled = pairs_within(searchable, reach.radius, limit=limit, executor=executor)
    left, right = np.minimum(scaled.left, scaled.right), np.maximum(scaled.left, scaled.right)
    sides = [torch.from_numpy(side).to(rows.device) for side in (left, right)]
    distance = pair_distances(rows, *sides).cpu().numpy()
    within = distance <= reach.distance
    beyond = scaled.count - len(left)
    count = int(within.sum()) + beyond
    return NearTokens(NearPairs(count, left[within], right[within], distance[within]))


def _seen(rows: Float[Tensor, "tokens hidden"], reach: Reach, sample: int) -> int:
    """The pairs within reach that some rows are in, each counted once."""
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(sample, len(rows))).round().astype(int))
    some = torch.from_numpy(chosen)
    targets = rows[some.to(rows.device)]
    within = distances_from_each(rows, targets) <= reach.distance
    within &= distances_from_each(rows, targets, reach.scale) <= reach.radius
    # A pair of two chosen rows is met from both sides, and each row meets itself.
    both = int(within[:, some].sum()) - len(some)
    return int(within.sum()) - len(some) - both // 2
