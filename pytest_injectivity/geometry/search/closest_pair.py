"""The closest pair of a set, exactly, without all pairs and without every row's neighbor.

The separation margin's minimum needs one pair only. A pair is ruled out where its distance along a
few directions (`projections`) is beyond the best distance found so far, which costs a fraction of
the whole product; tiles that lie apart along the widest direction are skipped. Where the rows
spread evenly over all directions that rules out too little, and products of whole rows are used.
The pairs that are left are decided by float64 subtraction.
"""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from pytest_injectivity.core.executor import Executor
from pytest_injectivity.core.shapes import Float, Float64, Int64
from pytest_injectivity.errors import OptionError
from pytest_injectivity.geometry.distances import pair_distances
from pytest_injectivity.geometry.equal_rows import EqualRows
from pytest_injectivity.geometry.search.limits import DEFAULT_LIMITS, SearchLimits
from pytest_injectivity.geometry.search.possible_pairs import PossiblePairs
from pytest_injectivity.geometry.search.products import Products
from pytest_injectivity.geometry.search.projections import Projections
from pytest_injectivity.geometry.search.shared import Tiles, TileSearch, search_tiles
from pytest_injectivity.geometry.search.tiles import Tile

_SEEDING_AXES = 2
_SAMPLE = 1024
_FIRST_LOOK = 64
_MOST_LOOKED_AT = 2**16


@dataclass(frozen=True)
class ClosestPair:
    """Two rows than which no two are closer; of several such pairs the first.

    Attributes:
        distance: float64, direct subtraction, in the rows' units.
        left: a row.
        right: another, after it.
        looked_at: pairs whose distance was computed.
    """

    distance: float
    left: int
    right: int
    looked_at: int


def closest_pair(
    rows: Float[Tensor, "n hidden"],
    equal: EqualRows | None = None,
    *,
    executor: Executor | None = None,
    limits: SearchLimits = DEFAULT_LIMITS,
) -> ClosestPair:
    """The smallest distance between two rows (the separation margin's minimum, SPEC section 2).

    Args:
        rows: finite rows, at least two.
        equal: the classes of equal rows, where the caller has them.
        executor: workers that a large search is shared among.
        limits: sizes of what is held at once; they change no number.

    Raises:
        OptionError: there are fewer than two rows.
    """
    if len(rows) < 2:  # noqa: PLR2004 - a pair is two
        raise OptionError(f"{len(rows)} rows have no closest pair: at least 2 are needed")
    equal = equal or EqualRows.of(rows)
    for left, right in equal.list_pairs(1):
        return ClosestPair(0.0, left, right, 0)
    search = _Search(rows, limits)
    few = len(rows) <= limits.few_rows or rows.shape[1] <= 2 * limits.axes
    if few or not search.along_projections(executor):
        search.over(executor)
    return search.best


class _Search(TileSearch[ClosestPair]):
    """The closest pair so far.

    Attributes:
        best: as it is.
        along: where each row lies along the widest direction, by position, in a search along a few
            directions; None in one by whole rows.
        slack: a distance along the directions is off by no more than this.
    """

    def __init__(self, rows: Float[Tensor, "n hidden"], limits: SearchLimits) -> None:
        self.rows = rows
        self.limits = limits
        self.best = ClosestPair(torch.inf, len(rows), len(rows), 0)
        self.along: Float64[Tensor, " n"] | None = None
        self.slack = 0.0

    def over(self, executor: Executor | None) -> None:
        """Look at every pair that the rows' products do not rule out."""
        self.products = Products.of(self.rows, limits=self.limits)
        self.along, self.slack = None, 0.0
        search_tiles(self, executor=executor)

    def along_projections(self, executor: Executor | None) -> bool:
        """Look at every pair that a few directions do not rule out; not if these leave too many."""
        projections = Projections.of(self.rows, self.limits.axes)
        self._first_look(projections)
        if not self._few_are_near(projections):
            return False
        along = projections.coordinates[:, 0]
        order = along.argsort()
        self.products = Products.of(projections.coordinates, order=order, limits=self.limits)
        self.along, self.slack = along[order], projections.slack
        search_tiles(self, executor=executor)
        return True

    def look_through(self, tiles: Tiles) -> ClosestPair:
        """Look at every pair of tiles that may be the closest."""
        for own, others in tiles:
            reach = self.best.distance + self.slack
            # Tiles apart along the first direction, by which the rows are sorted, need no product.
            if (
                self.along is None
                or float(self.along[others.start] - self.along[own.stop - 1]) <= reach
            ):
                tile = Tile(self.products, own, others)
                reach /= self.products.scale
                self._look_in_order(tile.near(reach, closest=self.along is None))
        return self.best

    def found(self) -> ClosestPair:
        """The closest pair so far."""
        return self.best

    def take(self, found: ClosestPair) -> None:
        """Goes on from a pair."""
        self.best = found

    def known(self) -> ClosestPair:
        """The closest pair so far, as if nobody had looked at it."""
        return replace(self.best, looked_at=0)

    def knowing(self, known: ClosestPair) -> Self:
        """A search that is to find a closer pair, or an equal one before it."""
        return self.changed(best=known)

    def merge(self, found: ClosestPair) -> None:
        """Takes the closer pair, and of equal ones the first."""
        looked_at = self.best.looked_at + found.looked_at
        closest = min(found, self.best, key=lambda one: (one.distance, one.left, one.right))
        self.best = replace(closest, looked_at=looked_at)

    def _first_look(self, projections: Projections) -> None:
        """Pairs that are neighbors along a direction and near along all of them."""
        coordinates = projections.coordinates
        for axis in range(_SEEDING_AXES):
            order = coordinates[:, axis].argsort()
            apart = (coordinates[order[1:]] - coordinates[order[:-1]]).square().sum(1)
            first = apart.topk(min(_FIRST_LOOK, len(apart)), largest=False).indices
            self._look(order[first], order[first + 1])

    def _few_are_near(self, projections: Projections) -> bool:
        """Whether the directions rule out nearly all pairs, judged by a sample of the rows."""
        sample = projections.coordinates[:: max(1, len(self.rows) // _SAMPLE)]
        apart = torch.cdist(sample, sample)
        near = int((apart <= self.best.distance + projections.slack).sum()) - len(sample)
        return near <= self.limits.few_near * len(sample) ** 2

    def _look_in_order(self, pairs: PossiblePairs) -> None:
        """Look at the pairs of least lower bound first, until no other can be closer."""
        lower, order = pairs.lower.sort()
        lower = lower * self.products.scale
        left, right = (self.products.order[side[order]] for side in (pairs.left, pairs.right))
        start, step = 0, _FIRST_LOOK
        while start < len(lower) and lower[start] <= self.best.distance + self.slack:
            self._look(left[start : start + step], right[start : start + step])
            start, step = start + step, min(2 * step, _MOST_LOOKED_AT)

    def _look(self, left: Int64[Tensor, " pairs"], right: Int64[Tensor, " pairs"]) -> None:
        distance = pair_distances(self.rows, left, right)
        nearest = float(distance.min())
        tied = distance == nearest
        pairs = torch.stack([torch.minimum(left, right)[tied], torch.maximum(left, right)[tied]], 1)
        first, second = min(map(tuple, pairs.tolist()))
        best = self.best
        looked_at = best.looked_at + len(distance)
        if (nearest, first, second) < (best.distance, best.left, best.right):
            self.best = ClosestPair(nearest, first, second, looked_at)
        else:
            self.best = replace(best, looked_at=looked_at)
