"""The candidates of each row among which its nearest rows are, as tile after tile is searched."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.executor import Executor
from pytest_injectivity.core.shapes import Bool, Float, Float64, Int64
from pytest_injectivity.geometry.search.limits import SearchLimits
from pytest_injectivity.geometry.search.possible_pairs import PossiblePairs
from pytest_injectivity.geometry.search.products import Products
from pytest_injectivity.geometry.search.ranking import ranks
from pytest_injectivity.geometry.search.sendable import Sendable, copied
from pytest_injectivity.geometry.search.shared import (
    Tiles,
    TileSearch,
    divided,
    is_worth_sharing,
    shares_of,
)
from pytest_injectivity.geometry.search.tiles import Tile

# Rows by which a first bound is found: an eighth of all, up to so many.
_SAMPLED = 8
_MOST_SAMPLED = 8192


@dataclass(frozen=True)
class _Found:
    """How far a search has come; positions are those of ``order``."""

    order: Int64[np.ndarray, " n"]
    reach: Float64[np.ndarray, " n"]
    nearest: Float64[np.ndarray, "n k"]
    crowded: Bool[np.ndarray, " n"]
    left: Int64[np.ndarray, " candidates"]
    right: Int64[np.ndarray, " candidates"]
    lower: Float64[np.ndarray, " candidates"]


@dataclass(frozen=True)
class _Bounding(Sendable):
    """Bounds how far the k nearest of some rows are, by a sample of the others."""

    products: Products
    sample: Int64[Tensor, " sample"]
    k: int

    def __call__(self, blocks: Sequence[slice]) -> Float64[np.ndarray, " some"]:
        """A bound for each row of some blocks of positions."""
        bounds = [self.products.nearest_of(own, self.sample, self.k) for own in blocks]
        return torch.cat(bounds).cpu().numpy()


class NeighborSearch(TileSearch[_Found]):
    """The candidates of each row so far, and how far its k-th nearest is at most.

    Positions and distances are those of the products.
    """

    def __init__(
        self,
        products: Products,
        reach: Float64[Tensor, " n"],
        k: int,
        rows: Float[Tensor, "n hidden"] | None = None,
    ) -> None:
        self.products = products
        self.limits = products.limits
        self.reach = reach
        self.k = k
        self._rows = rows
        self._nearest = torch.full_like(reach, torch.inf)[:, None].repeat(1, k)
        self._held: list[tuple[Tensor, Tensor, Tensor]] = []
        self._open = torch.zeros_like(reach, dtype=torch.bool)

    @classmethod
    def of(
        cls,
        rows: Float[Tensor, "n hidden"],
        k: int,
        limits: SearchLimits,
        executor: Executor | None = None,
    ) -> "NeighborSearch":
        """A first bound for each row from a sample of the others, spread evenly."""
        products = Products.of(rows, limits=limits)
        n = len(products)
        step = max(1, n // max(limits.sample, min(n // _SAMPLED, _MOST_SAMPLED), 2 * k))
        sample = torch.arange(0, n, step, device=rows.device)
        height = limits.sample
        blocks = [slice(start, min(start + height, n)) for start in range(0, n, height)]
        bounding = _Bounding(products, sample, k)
        if executor is None or not is_worth_sharing(products, executor):
            bounds = [bounding(blocks)]
        else:
            with closing(executor.map(bounding, divided(blocks, shares_of(executor)))) as every:
                bounds = list(every)
        reach = torch.from_numpy(np.concatenate(bounds)).to(rows.device)
        # Columns are looked at by groups: those of a group should reach equally far.
        order = reach.argsort()
        return cls(products.reordered(order), reach[order], k, rows)

    def look_through(self, tiles: Tiles) -> _Found:
        """Every pair of these tiles that may be among a row's nearest."""
        for own, others in tiles:
            self.add(Tile(self.products, own, others).in_reach(self.reach))
        return self.found()

    def found(self) -> _Found:
        """All that was found so far, and is still in reach."""
        self._prune()
        return _Found(
            self.products.order.cpu().numpy(),
            self.reach.cpu().numpy(),
            self._nearest.cpu().numpy(),
            self._open.cpu().numpy(),
            *(part.cpu().numpy() for part in self._held[0]),
        )

    def take(self, found: _Found) -> None:
        """Goes on from what was found, here or by a run that was ended."""
        device = self.reach.device
        order = torch.from_numpy(found.order).to(device)
        # Rounding may put rows in another order on another number of threads.
        if not torch.equal(order, self.products.order):
            assert self._rows is not None  # noqa: S101 - only a share has none
            self.products = Products.of(self._rows, order=order, limits=self.limits)
        self.reach = copied(found.reach, device)
        self._nearest = copied(found.nearest, device)
        self._open = copied(found.crowded, device)
        held = (found.left, found.right, found.lower)
        left, right, lower = (torch.from_numpy(part).to(device) for part in held)
        self._held = [(left, right, lower)]

    def known(self) -> Float64[np.ndarray, " n"]:
        """How far each row reaches."""
        return self.reach.cpu().numpy().copy()

    def knowing(self, known: Float64[np.ndarray, " n"]) -> "NeighborSearch":
        """A search with this reach and no candidates."""
        reach = copied(known, self.products.order.device)
        return NeighborSearch(self.products, reach, self.k)

    def merge(self, found: _Found) -> None:
        """Adds the candidates of a share."""
        here = partial(copied, device=self.reach.device)
        nearest = torch.cat([self._nearest, here(found.nearest)], dim=1)
        self._nearest = nearest.sort(dim=1).values[:, : self.k]
        self._open |= here(found.crowded)
        self.reach = torch.minimum(self.reach, here(found.reach))
        self.reach = torch.minimum(self.reach, self._nearest[:, -1])
        self._hold(*map(here, (found.left, found.right, found.lower)))

    def candidates(self) -> tuple[Int64[Tensor, " c"], Int64[Tensor, " c"], Int64[Tensor, " some"]]:
        """Rows and their candidates, and the rows that have too many and must be searched again."""
        self._prune()
        self._give_up_crowded()
        left, right, _ = self._held[0]
        order = self.products.order
        return order[left], order[right], order[self._open.nonzero()[:, 0]]

    def add(self, pairs: PossiblePairs) -> None:
        """Both sides of each pair, where the pair may be among the row's nearest."""
        sides = ((pairs.left, pairs.right), (pairs.right, pairs.left))
        rows = torch.cat([one for one, _ in sides])
        others = torch.cat([other for _, other in sides])
        lower, upper = pairs.lower.repeat(2), pairs.upper.repeat(2)
        wanted = lower <= self.reach[rows]
        self._tighten(rows[wanted], upper[wanted])
        self._hold(rows[wanted], others[wanted], lower[wanted])

    def _hold(
        self,
        rows: Int64[Tensor, " c"],
        others: Int64[Tensor, " c"],
        lower: Float64[Tensor, " c"],
    ) -> None:
        self._held.append((rows, others, lower))
        if sum(len(rows) for rows, _, _ in self._held) > max(
            self.limits.held, 64 * len(self.reach)
        ):
            self._prune()
            self._give_up_crowded()

    def _tighten(self, rows: Int64[Tensor, " some"], upper: Float64[Tensor, " some"]) -> None:
        """Merge new upper bounds into each row's k smallest."""
        if not len(rows):
            return
        upper, order = upper.sort()
        rows, again = rows[order].sort(stable=True)
        upper = upper[again]
        distinct, at = torch.unique_consecutive(rows, return_inverse=True)
        rank = ranks(at, len(distinct))
        first = rank < self.k
        new = torch.full_like(self._nearest[: len(distinct)], torch.inf)
        new[at[first], rank[first]] = upper[first]
        merged = torch.cat([self._nearest[distinct], new], dim=1).sort(dim=1).values[:, : self.k]
        self._nearest[distinct] = merged
        self.reach[distinct] = torch.minimum(self.reach[distinct], merged[:, -1])

    def _prune(self) -> None:
        """Drop what has fallen out of reach since it was found."""
        rows, others, lower = (torch.cat(parts) for parts in zip(*self._held, strict=True))
        kept = lower <= self.reach[rows]
        self._held = [(rows[kept], others[kept], lower[kept])]

    def _give_up_crowded(self) -> None:
        """Leave rows with too many candidates to the second search."""
        rows, others, lower = self._held[0]
        counts = torch.bincount(rows, minlength=len(self.reach))
        crowded = counts > max(self.limits.candidates, 4 * self.k)
        self._open |= crowded
        self.reach[crowded] = -torch.inf
        kept = ~crowded[rows]
        self._held = [(rows[kept], others[kept], lower[kept])]
