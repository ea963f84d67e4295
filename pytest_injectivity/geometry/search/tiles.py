"""One tile of the matrix of squared distances, and the searches for pairs in it.

A tile holds what `Products.squared` gives for some rows and some columns. Its entries are compared
with limits, in the tile's own dtype and rounded so that no pair in reach is missed; the entries of
32 columns are compared by their smallest one first. What passes the limits is bounded in float64
once more (`Products.bounded`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64, Int64
from pytest_injectivity.geometry.search.possible_pairs import PossiblePairs
from pytest_injectivity.geometry.search.products import Products, chunks
from pytest_injectivity.geometry.search.tile_sides import GROUP, TileSide, rounded_up


@dataclass(frozen=True)
class Tile:
    """The pairs of some positions with some others.

    Attributes:
        products: of the rows.
        own: positions of the tile's rows, as `Products.tiles` gives them.
        others: of its columns.
    """

    products: Products
    own: slice
    others: slice

    def in_reach(
        self,
        reach: Float64[Tensor, " n"],
        stretch: Float64[Tensor, " own"] | None = None,
    ) -> PossiblePairs:
        """The pairs of a tile that may lie within the reach of one of their two rows.

        Args:
            reach: a distance for each position; ``-inf`` for one that looks for nothing.
            stretch: what a pair's reach is multiplied by, for each of the positions ``own``; without
                it, positions had better stand in the order of their reach.
        """
        others = self.others if stretch is None else self._by_reach(reach)
        tile = self.products.squared(self.own, others)
        # One limit for each group of columns, which reach about equally far.
        columns = self._side(others, reach).grouped().farthest()
        factor = None if stretch is None else rounded_up(stretch, tile.dtype)[:, None]
        limits = self._limit(self._side(self.own, reach).across(), columns, factor)
        near = tile.view(len(tile), -1, GROUP).amin(2) <= limits
        row, group = near.nonzero(as_tuple=True)
        step = tile.shape[1] // GROUP
        found = []
        for part in chunks(len(row), GROUP, self.products.limits.chunk_elements):
            i, g = row[part], group[part]
            values = tile.view(-1, GROUP).index_select(0, i * step + g)
            at, inside = (values <= limits[i, g, None]).nonzero(as_tuple=True)
            left, right = i[at], g[at] * GROUP + inside
            right = right + others.start if isinstance(others, slice) else others[right]
            pairs = self.products.bounded(left + self.own.start, right, values[at, inside])
            within = torch.maximum(reach[pairs.left], reach[pairs.right])
            if stretch is not None:
                within *= stretch[left]
            # Below the diagonal a tile repeats what is above it.
            found.append(pairs.where((pairs.left < pairs.right) & (pairs.lower <= within)))
        return PossiblePairs(
            *(torch.cat(parts) for parts in zip(*map(_fields, found), strict=True))
        )

    def near(self, reach: float, *, closest: bool = False) -> PossiblePairs:
        """The pairs of a tile that may lie within one reach, the same for all.

        Args:
            reach: a distance.
            closest: only pairs that may be the tile's closest.
        """
        tile = self.products.squared(self.own, self.others)
        itself = torch.arange(
            self.own.start, min(self.own.stop, self.others.stop), device=tile.device
        )
        itself = itself[itself >= self.others.start]
        tile[itself - self.own.start, itself - self.others.start] = torch.inf
        least = tile.amin(1)
        everywhere = torch.full_like(self.products.drift, reach)
        rows = self._side(self.own, everywhere)
        columns = self._side(self.others, everywhere).farthest(dim=0)
        if closest:
            # The closest pair is no farther than the upper bound of any pair.
            off = (rows.squares + columns.squares) * self.products.slack + self.products.floor
            most = (least + rows.squares + off).clamp(min=0).sqrt() + rows.drift + columns.drift
            rows = rows.reaching(min(reach, (1 + 1e-6) * float(most.min())))
            columns = columns.reaching(-torch.inf)
        limit = self._limit(rows, columns)
        row = (least <= limit).nonzero()[:, 0]
        at, right = (tile[row] <= limit[row, None]).nonzero(as_tuple=True)
        left = row[at]
        pairs = self._bounded(left, right, tile[left, right])
        return pairs.where((pairs.left < pairs.right) & (pairs.lower <= reach))

    def within(self, reach: float, weights: Int64[Tensor, " n"]) -> tuple[int, PossiblePairs]:
        """The pairs of a tile that are surely within reach, counted, and those left open.

        Args:
            reach: a distance.
            weights: of each position: a pair counts as often as the product of its two weights.
        """
        tile = self.products.squared(self.own, self.others)
        groups = tile.view(len(tile), -1, GROUP)
        everywhere = torch.full_like(self.products.drift, reach)
        rows = self._side(self.own, everywhere).across()
        columns = self._side(self.others, everywhere).grouped().farthest()
        upper = self._limit(rows, columns)[:, :, None]
        lower = self._limit(rows, columns, sign=-1.0)[:, :, None]
        above = torch.ones_like(tile, dtype=torch.bool).triu(1 + self.own.start - self.others.start)
        sure = (groups <= lower).view(tile.shape) & above
        open_ = (groups <= upper).view(tile.shape) & above & ~sure
        left, right = open_.nonzero(as_tuple=True)
        pairs = self._bounded(left, right, tile[left, right])
        # Padding is never near. Whole numbers below 2^53 add up exactly in float64.
        real = sure[:, : len(self.products) - self.others.start].double()
        by_row = real @ weights[self.others].double()
        return int(by_row.long() @ weights[self.own]), pairs

    def beyond(
        self,
        reach: Float64[Tensor, " n"],
        least: Float[Tensor, "own rest"],
    ) -> PossiblePairs:
        """The pairs of a tile whose distance may be at least ``least`` times the reach of a row.

        Args:
            reach: a distance for each position; ``inf`` for one that looks for nothing.
            least: what each pair's reach is multiplied by; padding left out.
        """
        tile = self.products.squared(self.own, self.others)[:, : least.shape[1]]
        rest = slice(self.others.start, self.others.start + least.shape[1])
        dtype = tile.dtype
        within = torch.minimum(reach[self.own, None], reach[rest]).to(dtype) * least
        within -= (self.products.drift[self.own, None] + self.products.drift[rest]).to(dtype)
        own_squares = self.products.squares[self.own, None]
        off = (
            own_squares + self.products.squares[rest]
        ) * self.products.slack + self.products.floor
        limit = within.clamp_(min=0).square_().sub_(own_squares + off)
        left, right = (tile >= limit).nonzero(as_tuple=True)
        pairs = self._bounded(left, right, tile[left, right])
        return pairs.where(pairs.left < pairs.right)

    def _bounded(
        self,
        left: Int64[Tensor, " pairs"],
        right: Int64[Tensor, " pairs"],
        values: Float[Tensor, " pairs"],
    ) -> PossiblePairs:
        return self.products.bounded(left + self.own.start, right + self.others.start, values)

    def _by_reach(self, reach: Float64[Tensor, " n"]) -> Int64[Tensor, " others"]:
        """The positions of the columns, those that reach about equally far side by side."""
        padding = self.others.stop - self.others.start - len(reach[self.others])
        columns = torch.nn.functional.pad(reach[self.others], (0, padding), value=-torch.inf)
        order: Tensor = columns.argsort()
        order += self.others.start
        return order

    def _side(self, part: slice | Tensor, reach: Float64[Tensor, " n"]) -> TileSide:
        """What limits the pairs of some positions; padding looks for nothing and is near nothing."""
        side, padding = self.products.side, len(self.products.squares) - len(reach)
        padded = torch.nn.functional.pad(reach, (0, padding), value=-torch.inf)
        reaching = rounded_up(padded[part], side.reach.dtype)
        return TileSide(reaching, side.drift[part], side.squares[part])

    def _limit(
        self,
        rows: TileSide,
        columns: TileSide,
        stretch: Tensor | None = None,
        sign: float = 1.0,
    ) -> Tensor:
        """What a tile's entry is at most where its pair lies within reach.

        With ``sign=-1``: an entry up to this means that its pair does.
        """
        slack = sign * self.products.slack
        limit = torch.maximum(rows.reach, columns.reach)
        if stretch is not None:
            limit *= stretch
        limit += sign * rows.drift
        limit += sign * columns.drift
        # A negative reach is never met, but its square would be.
        limit *= limit.abs()
        limit += slack * rows.squares - rows.squares + sign * self.products.floor
        limit += slack * columns.squares
        # A reach beyond all numbers of the dtype is met by all rows, and by no padding.
        return limit.clamp_(max=torch.finfo(limit.dtype).max)


def _fields(pairs: PossiblePairs) -> tuple[Tensor, ...]:
    return pairs.left, pairs.right, pairs.lower, pairs.upper
