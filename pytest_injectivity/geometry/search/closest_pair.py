"""The closest pair of a set, exactly, without all pairs and without every row's neighbor.

The separation margin's minimum needs one pair only. A pair is ruled out where its distance along a
few directions (`projections`) is beyond the best distance found so far, which costs a fraction of
the whole product; tiles that lie apart along the widest direction are skipped. Where the rows
spread evenly over all directions that rules out too little, and products of whole rows are used.
The pairs that are left are decided by float64 subtraction.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Int64
from pytest_injectivity.errors import OptionError
from pytest_injectivity.geometry.distances import pair_distances
from pytest_injectivity.geometry.equal_rows import EqualRows
from pytest_injectivity.geometry.search.limits import DEFAULT_LIMITS, SearchLimits
from pytest_injectivity.geometry.search.possible_pairs import PossiblePairs
from pytest_injectivity.geometry.search.products import Products
from pytest_injectivity.geometry.search.projections import Projections
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
    limits: SearchLimits = DEFAULT_LIMITS,
) -> ClosestPair:
    """The smallest distance between two rows (the separation margin's minimum, SPEC section 2).

    Args:
        rows: finite rows, at least two.
        equal: the classes of equal rows, where the caller has them.
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
    if few or not search.along_projections():
        search.over(Products.of(rows, limits=limits))
    return search.found


class _Search:
    """The closest pair so far."""

    def __init__(self, rows: Float[Tensor, "n hidden"], limits: SearchLimits) -> None:
        self.rows = rows
        self.limits = limits
        self.found = ClosestPair(torch.inf, len(rows), len(rows), 0)

    def over(self, products: Products) -> None:
        """Look at every pair that the rows' products do not rule out."""
        for own, others in products.tiles():
            reach = self.found.distance / products.scale
            pairs = Tile(products, own, others).near(reach, closest=True)
            self._look_in_order(products, pairs, 0.0)

    def along_projections(self) -> bool:
        """Look at every pair that a few directions do not rule out; not if these leave too many."""
        projections = Projections.of(self.rows, self.limits.axes)
        self._first_look(projections)
        if not self._few_are_near(projections):
            return False
        along = projections.coordinates[:, 0]
        order = along.argsort()
        products = Products.of(projections.coordinates, order=order, limits=self.limits)
        slack = projections.slack
        for own, others in products.tiles():
            reach = self.found.distance + slack
            # Tiles apart along the first direction, by which the rows are sorted, need no product.
            if float(along[order[others.start]] - along[order[own.stop - 1]]) <= reach:
                pairs = Tile(products, own, others).near(reach / products.scale)
                self._look_in_order(products, pairs, slack)
        return True

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
        near = int((apart <= self.found.distance + projections.slack).sum()) - len(sample)
        return near <= self.limits.few_near * len(sample) ** 2

    def _look_in_order(self, products: Products, pairs: PossiblePairs, slack: float) -> None:
        """Look at the pairs of least lower bound first, until no other can be closer."""
        lower, order = pairs.lower.sort()
        left, right = products.order[pairs.left[order]], products.order[pairs.right[order]]
        start, step = 0, _FIRST_LOOK
        while start < len(lower) and lower[start] * products.scale <= self.found.distance + slack:
            self._look(left[start : start + step], right[start : start + step])
            start, step = start + step, min(2 * step, _MOST_LOOKED_AT)

    def _look(self, left: Int64[Tensor, " pairs"], right: Int64[Tensor, " pairs"]) -> None:
        distance = pair_distances(self.rows, left, right)
        nearest = float(distance.min())
        tied = distance == nearest
        pairs = torch.stack([torch.minimum(left, right)[tied], torch.maximum(left, right)[tied]], 1)
        first, second = min(map(tuple, pairs.tolist()))
        best = self.found
        looked_at = best.looked_at + len(distance)
        if (nearest, first, second) < (best.distance, best.left, best.right):
            self.found = ClosestPair(nearest, first, second, looked_at)
        else:
            self.found = replace(best, looked_at=looked_at)
