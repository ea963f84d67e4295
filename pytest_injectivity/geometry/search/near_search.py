"""The pairs of rows within eps that matrix products leave, listed or counted tile by tile."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64, Int64
from pytest_injectivity.geometry.distances import pair_distances
from pytest_injectivity.geometry.search.limits import SearchLimits
from pytest_injectivity.geometry.search.products import Products
from pytest_injectivity.geometry.search.sendable import Sendable
from pytest_injectivity.geometry.search.shared import Tiles, TileSearch
from pytest_injectivity.geometry.search.tiles import Tile

_SAMPLE = 1024


@dataclass(frozen=True)
class FoundPairs(Sendable):
    """Pairs of distinct rows: how many pairs of rows they stand for, and the closest of them."""

    count: int
    left: Int64[Tensor, " listed"]
    right: Int64[Tensor, " listed"]
    distance: Float64[Tensor, " listed"]

    @classmethod
    def none(cls, device: torch.device) -> Self:
        """No pair."""
        index = torch.zeros(0, dtype=torch.int64, device=device)
        return cls(0, index, index, torch.zeros(0, dtype=torch.float64, device=device))

    def beside(self, other: "FoundPairs", limit: int) -> Self:
        """All the pairs of both, with so many of the closest listed, ties by row."""
        left, right = torch.cat([self.left, other.left]), torch.cat([self.right, other.right])
        distance = torch.cat([self.distance, other.distance])
        order = np.lexsort((right.cpu(), left.cpu(), distance.cpu()))[:limit]
        first = torch.from_numpy(order).to(left.device)
        return replace(
            self,
            count=self.count + other.count,
            left=left[first],
            right=right[first],
            distance=distance[first],
        )


def gathered(
    rows: Float[Tensor, "n hidden"],
    eps: float,
    candidates: Iterable[tuple[Int64[Tensor, " pairs"], Int64[Tensor, " pairs"]]],
    weights: Int64[Tensor, " n"],
    limit: int,
) -> FoundPairs:
    """Candidates looked at directly."""
    found = FoundPairs.none(rows.device)
    for one, other in candidates:
        left, right = torch.minimum(one, other), torch.maximum(one, other)
        distance = pair_distances(rows, left, right)
        within = distance <= eps
        left, right = left[within], right[within]
        count = int((weights[left] * weights[right]).sum())
        found = found.beside(FoundPairs(count, left, right, distance[within]), limit)
    return found


class NearListing(TileSearch[FoundPairs]):
    """The pairs that products cannot rule out, looked at directly."""

    def __init__(
        self,
        rows: Float[Tensor, "n hidden"],
        eps: float,
        weights: Int64[Tensor, " n"],
        limit: int,
        limits: SearchLimits,
    ) -> None:
        self.rows = rows
        self.eps = eps
        self.weights = weights
        self.limit = limit
        self.products = Products.of(rows, limits=limits)
        self.pairs = FoundPairs.none(rows.device)

    def look_through(self, tiles: Tiles) -> FoundPairs:
        """Looks at every pair of tiles that may be near."""
        near = gathered(self.rows, self.eps, self._candidates(tiles), self.weights, self.limit)
        self.merge(near)
        return self.pairs

    def _candidates(
        self, tiles: Tiles
    ) -> Iterator[tuple[Int64[Tensor, " pairs"], Int64[Tensor, " pairs"]]]:
        order = self.products.order
        for own, others in tiles:
            pairs = Tile(self.products, own, others).near(self.eps / self.products.scale)
            yield order[pairs.left], order[pairs.right]

    def found(self) -> FoundPairs:
        """All that was found so far."""
        return self.pairs

    def take(self, found: FoundPairs) -> None:
        """Goes on from what was found."""
        self.pairs = found

    def known(self) -> None:
        """Nothing: a pair is near or not."""

    def knowing(self, known: None) -> Self:  # noqa: ARG002 - nothing
        """A search that has found no pair."""
        return self.changed(pairs=FoundPairs.none(self.rows.device))

    def merge(self, found: FoundPairs) -> None:
        """Adds the pairs of a share."""
        self.pairs = self.pairs.beside(found.to(self.rows.device), self.limit)


class NearCounting(TileSearch[int]):
    """How many pairs are within eps: those that products are sure of are not looked at."""

    def __init__(
        self,
        rows: Float[Tensor, "n hidden"],
        eps: float,
        weights: Int64[Tensor, " n"],
        limits: SearchLimits,
    ) -> None:
        self.rows = rows
        self.eps = eps
        self.weights = weights
        dtype = torch.float64 if _crowded(rows, eps, limits.open_pairs) else torch.float32
        self.products = Products.of(rows, dtype=dtype, limits=limits)
        self.count = 0

    def look_through(self, tiles: Tiles) -> int:
        """Counts the pairs of tiles."""
        order, weights = self.products.order, self.weights
        for own, others in tiles:
            tile = Tile(self.products, own, others)
            sure, pairs = tile.within(self.eps / self.products.scale, weights)
            distance = pair_distances(self.rows, order[pairs.left], order[pairs.right])
            open_ = pairs.where(distance <= self.eps)
            self.count += sure + int((weights[open_.left] * weights[open_.right]).sum())
        return self.count

    def found(self) -> int:
        """How many so far."""
        return self.count

    def take(self, found: int) -> None:
        """Goes on from what was counted."""
        self.count = found

    def known(self) -> None:
        """Nothing: a pair is near or not."""

    def knowing(self, known: None) -> Self:  # noqa: ARG002 - nothing
        """A search that has counted none."""
        return self.changed(count=0)

    def merge(self, found: int) -> None:
        """Adds the pairs of a share."""
        self.count += found


def _crowded(rows: Float[Tensor, "n hidden"], eps: float, share: float) -> bool:
    """Whether float32 products leave many pairs open, judged by a sample."""
    sample = rows[:: max(1, len(rows) // _SAMPLE)]
    products = Products.of(sample, dtype=torch.float32)
    lower, upper = products.bounds(torch.arange(len(sample), device=rows.device))
    reach = eps / products.scale
    return float(((lower <= reach) & (upper > reach)).double().mean()) > share
