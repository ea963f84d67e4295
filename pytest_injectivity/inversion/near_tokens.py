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

from pytest_injectivity.core.shapes import Float
from pytest_injectivity.geometry.distances import pair_distances
from pytest_injectivity.geometry.search.near_pairs import NearPairs, pairs_within
from pytest_injectivity.states.candidate_pairs import far_distance, far_radius
from pytest_injectivity.states.resolution import Resolution
from pytest_injectivity.states.scaled import Scale


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
        """The reach of the resolution at one group of positions."""
        return cls(far_distance(resolution), far_radius(resolution), resolution.scale)

    @property
    def digest(self) -> str:
        """A name for the scale: equal for equal numbers."""
        values = np.ascontiguousarray(self.scale.values)
        return hashlib.sha256(values.tobytes()).hexdigest()[:40]


def near_tokens(rows: Float[Tensor, "tokens hidden"], reach: Reach, limit: int) -> NearPairs:
    """The pairs of states within reach in both distances, the closest in the scaled one first.

    Args:
        rows: finite states of one place, no two of them equal.
        reach: of the place.
        limit: how many pairs within the radius are looked at; of those beyond it all are counted.

    Returns:
        Row indexes, smaller first; distances are Euclidean.
    """
    scaled = pairs_within(reach.scale.searchable(rows), reach.radius, limit=limit)
    left, right = np.minimum(scaled.left, scaled.right), np.maximum(scaled.left, scaled.right)
    sides = [torch.from_numpy(side).to(rows.device) for side in (left, right)]
    distance = pair_distances(rows, *sides).cpu().numpy()
    within = distance <= reach.distance
    beyond = scaled.count - len(left)
    return NearPairs(int(within.sum()) + beyond, left[within], right[within], distance[within])
