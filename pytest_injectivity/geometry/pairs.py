"""Pairs of rows within eps: all of them counted, the closest of them listed, none missed.

A row takes part only if its own nearest neighbour is within eps, so the search runs over those rows
alone: on real layers a handful. Among them float64 products sort the pairs into surely near, surely
far and open; the open ones, and the ones to be listed, are looked at directly.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from pytest_injectivity.errors import OptionError
from pytest_injectivity.geometry.distances import Products, pair_distances
from pytest_injectivity.geometry.neighbours import Neighbours


@dataclass(frozen=True)
class NearPairs:
    """Unordered pairs ``left < right`` with distance at most eps, closest first.

    Attributes:
        count: how many there are in all.
        left: row indexes of those listed.
        right: likewise.
        distance: float64, direct subtraction.
    """

    count: int
    left: Int64[np.ndarray, " listed"]
    right: Int64[np.ndarray, " listed"]
    distance: Float64[np.ndarray, " listed"]


def pairs_within(
    rows: Float[Tensor, "n hidden"],
    eps: float,
    nearest: Neighbours,
    *,
    limit: int = 10_000,
) -> NearPairs:
    """The pairs of rows at Euclidean distance at most eps (SPEC section 2, near collisions).

    Args:
        rows: finite rows.
        eps: absolute, in the states' units; 0 gives the exact collisions.
        nearest: the nearest neighbours of the same rows.
        limit: how many pairs to list; all are counted.

    Raises:
        OptionError: eps is negative, infinite or NaN.
    """
    if not 0.0 <= eps < np.inf:
        raise OptionError(f"eps={eps!r} is not a distance: give a finite number that is at least 0")
    taking_part = np.flatnonzero(nearest.distance <= eps)
    if not len(taking_part):
        empty = np.zeros(0, dtype=np.int64)
        return NearPairs(0, empty, empty, np.zeros(0))
    kept = torch.from_numpy(taking_part).to(rows.device)
    chosen = rows[kept]
    products = Products.of(chosen, torch.float64)
    count = 0
    listed = _Closest.none(rows.device)
    for own in products.own_blocks():
        first = int(own[0])
        columns = torch.arange(first, len(chosen), device=own.device)
        later = columns[None, :] > own[:, None]
        lower = products.distance(products.lower(own, first))
        upper = products.distance(products.upper(own, first))
        sure = later & (upper <= eps)
        # A pair that is surely near needs a direct look only if it may be among those listed.
        beyond = sure & (lower > _listed_up_to(upper[sure], limit))
        worth = later & (lower <= eps) & ~beyond
        left, right = torch.nonzero(worth, as_tuple=True)
        left, right = own[left], columns[right]
        distance = pair_distances(chosen, left, right)
        within = distance <= eps
        count += int(beyond.sum()) + int(within.sum())
        listed = listed.merged(kept[left[within]], kept[right[within]], distance[within], limit)
    return NearPairs(
        count,
        listed.left.cpu().numpy(),
        listed.right.cpu().numpy(),
        listed.distance.cpu().numpy(),
    )


@dataclass(frozen=True)
class _Closest:
    """The closest pairs seen so far, ordered by distance and then by row."""

    left: Int64[Tensor, " listed"]
    right: Int64[Tensor, " listed"]
    distance: Float64[Tensor, " listed"]

    @classmethod
    def none(cls, device: torch.device) -> "_Closest":
        index = torch.zeros(0, dtype=torch.int64, device=device)
        return cls(index, index, torch.zeros(0, dtype=torch.float64, device=device))

    def merged(
        self,
        left: Int64[Tensor, " more"],
        right: Int64[Tensor, " more"],
        distance: Float64[Tensor, " more"],
        limit: int,
    ) -> "_Closest":
        left, right = torch.cat([self.left, left]), torch.cat([self.right, right])
        distance = torch.cat([self.distance, distance])
        order = np.lexsort((right.cpu(), left.cpu(), distance.cpu()))[:limit]
        kept = torch.from_numpy(order).to(left.device)
        return _Closest(left[kept], right[kept], distance[kept])


def _listed_up_to(values: Float64[Tensor, " some"], limit: int) -> float:
    """No list of ``limit`` goes beyond this: that many values are at most as large."""
    if limit == 0:
        return -np.inf
    return float(values.kthvalue(limit).values) if len(values) > limit else np.inf
