"""The scout: squared distances of all pairs by matrix products, whose error is proved.

``|a|^2 + |b|^2 - 2ab`` is the fast way to all pairs and wrong below about ``5e-4 |x|`` in float32.
It therefore never decides anything. It says which pairs may lie within a distance, none missed, and
callers look directly (`distances`) at those.

Three things move a product away from the truth, and each is bounded:

- rows are centred (an offset shared by all would eat the digits) and rounded, to bfloat16 where the
  machine multiplies it several times faster. How far that moves row i is not estimated but measured,
  ``drift[i]``; by the triangle inequality a distance moves by at most ``drift[i] + drift[j]``;
- a dot product of d terms, summed in any order, is off by at most ``d u |a| |b|`` (Higham, "Accuracy
  and Stability of Numerical Algorithms", section 3.1), and so are the squares: ``slack``;
- what is smaller than the least normal number may be lost whole: ``floor``.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64, Int64
from pytest_injectivity.geometry.distances import row_norms
from pytest_injectivity.geometry.search.hits import Hits
from pytest_injectivity.geometry.search.precision import fastest_dtype, precision_of
from pytest_injectivity.geometry.search.sides import GROUP, Side, rounded_up

# 16 MB of float32: blocks of 32 MB come fresh from the system each time, page by page. A tile's
# columns are looked at by groups.
_TILE_ROWS = 1024
_TILE_COLUMNS = 4096
_CHUNK_ELEMENTS = 2**20
# Pairs of a part: a few seconds of work.
_PART_PAIRS = 5 * 10**8

_TENSOR_CORES = 4.0
"""Tensor cores add up by cutting digits off: their error bound is a few times Higham's."""


@dataclass(frozen=True)
class Products:
    """Rows ready for blocked matrix products. Everything is in units of ``scale``.

    Attributes:
        order: the row of the caller that stands at each position.
        rounded: the centred rows, padded with zeros to whole groups.
        squares: squared norms of the rounded rows; infinite for padding, which is near nothing.
        drift: how far rounding moved each row.
        slack, floor: see the module.
        scale: a power of two that keeps squares from overflowing: a distance times it is one of the
            caller's rows.
    """

    order: Int64[Tensor, " n"]
    rounded: Float[Tensor, "padded hidden"]
    squares: Float[Tensor, " padded"]
    drift: Float64[Tensor, " n"]
    slack: float
    floor: float
    scale: float

    @classmethod
    def of(
        cls,
        rows: Float[Tensor, "n hidden"],
        *,
        order: Int64[Tensor, " n"] | None = None,
        dtype: torch.dtype | None = None,
    ) -> "Products":
        """Centre the rows in float64 and round them once.

        Args:
            rows: finite rows.
            order: the order they shall stand in; as they are by default.
            dtype: what they are rounded to; the fastest the device has by default.
        """
        dtype = dtype or fastest_dtype(rows.device)
        n, width = rows.shape
        if order is None:
            order = torch.arange(n, device=rows.device)
        mean, scale = centre(rows)
        padded = -(-n // GROUP) * GROUP
        rounded = torch.zeros(padded, width, dtype=dtype, device=rows.device)
        drift = torch.empty(n, dtype=torch.float64, device=rows.device)
        unit = torch.finfo(torch.float64).eps
        for part in _chunks(n, width):
            exact = (rows[order[part]].double() - mean) / scale
            rounded[part] = exact.to(dtype)
            # Centring rounds too, in the last place of float64.
            drift[part] = row_norms(exact - rounded[part].double()) + unit * row_norms(exact)
        summed = torch.float64 if dtype == torch.float64 else torch.float32
        squares = torch.full((padded,), torch.inf, dtype=summed, device=rows.device)
        squares[:n] = row_norms(rounded[:n]).square().to(summed)
        # Per |a||b| <= (|a|^2 + |b|^2) / 2: d u twice for the product; 8 u for the additions and the
        # rounding of the squares; the rest is room for gamma = du / (1 - du) and for the limits.
        factor = _TENSOR_CORES if rows.device.type == "cuda" else 1.0
        slack = factor * (1.1 * width + 40) * torch.finfo(summed).eps / 2
        floor = 16 * (width + 1) * torch.finfo(torch.float32).tiny
        return cls(order, rounded, squares, drift, slack, floor, scale)

    def __len__(self) -> int:
        return len(self.order)

    def reordered(self, order: Int64[Tensor, " n"]) -> "Products":
        """The same rows in another order, given by positions in this one."""
        rounded, squares = torch.zeros_like(self.rounded), self.squares.clone()
        rounded[: len(self)] = self.rounded[order]
        squares[: len(self)] = self.squares[order]
        return replace(
            self,
            order=self.order[order],
            rounded=rounded,
            squares=squares,
            drift=self.drift[order],
        )

    def tiles(self) -> Iterator[tuple[slice, slice]]:
        """Blocks of positions that hold every pair once, ``left`` never after ``right``."""
        for start in range(0, len(self), _TILE_ROWS):
            own = slice(start, min(start + _TILE_ROWS, len(self)))
            for first in range(start, len(self), _TILE_COLUMNS):
                yield own, slice(first, min(first + _TILE_COLUMNS, len(self.rounded)))

    def parts(self) -> list[list[tuple[slice, slice]]]:
        """The tiles, in parts of a few seconds of work: all that a search that is killed loses."""
        tiles, n = list(self.tiles()), len(self)
        parts = min(len(tiles), 1 + n * n // 2 // _PART_PAIRS)
        ends = [part * len(tiles) // parts for part in range(parts + 1)]
        return [tiles[start:end] for start, end in pairwise(ends)]

    def squared(self, own: slice, others: slice) -> Float[Tensor, "own others"]:
        """Approximate squared distances, less the squares of the rows ``own``."""
        left, right = (self._multiplied(part) for part in (own, others))
        with precision_of(self.rounded.dtype):
            return torch.addmm(self.squares[others], left, right.T, alpha=-2)

    def hits(
        self,
        own: slice,
        others: slice,
        reach: Float64[Tensor, " n"],
        stretch: Float64[Tensor, " own"] | None = None,
    ) -> Hits:
        """The pairs of a tile that may lie within the reach of one of their two rows.

        Args:
            own: positions, as `tiles` gives them.
            others: likewise.
            reach: a distance for each position; ``-inf`` for one that looks for nothing.
            stretch: what a pair's reach is multiplied by, for each of the positions ``own``; without
                it, positions had better stand in the order of their reach.
        """
        tile = self.squared(own, others)
        rows, columns = self._side(own, reach), self._side(others, reach).grouped()
        if stretch is None:
            stretch = torch.ones_like(reach[own])
            row, group = self._groups_alike(tile, rows, columns)
        else:
            row, group = self._groups(tile, rows, columns, stretch.to(tile.dtype))
        stretched = stretch.to(tile.dtype)
        step = tile.shape[1] // GROUP
        found = []
        for part in _chunks(len(row), GROUP):
            i, g = row[part], group[part]
            values = tile.view(-1, GROUP).index_select(0, i * step + g)
            limit = self._limit(rows.at(i).across(), columns.at(g), stretched[i, None])
            at, inside = (values <= limit).nonzero(as_tuple=True)
            left, right = i[at], g[at] * GROUP + inside
            hits = self._bounded(left + own.start, right + others.start, values[at, inside])
            within = torch.maximum(reach[hits.left], reach[hits.right]) * stretch[left]
            # Below the diagonal a tile repeats what is above it.
            found.append(hits.where((hits.left < hits.right) & (hits.lower <= within)))
        return Hits(*(torch.cat(parts) for parts in zip(*map(_fields, found), strict=True)))

    def near(self, own: slice, others: slice, reach: float, *, closest: bool = False) -> Hits:
        """The pairs of a tile that may lie within one reach, the same for all.

        Args:
            own: positions, as `tiles` gives them.
            others: likewise.
            reach: a distance.
            closest: only pairs that may be the tile's closest.
        """
        tile = self.squared(own, others)
        itself = torch.arange(own.start, min(own.stop, others.stop), device=tile.device)
        itself = itself[itself >= others.start]
        tile[itself - own.start, itself - others.start] = torch.inf
        least = tile.amin(1)
        everywhere = torch.full_like(self.drift, reach)
        rows, columns = self._side(own, everywhere), self._side(others, everywhere).farthest(dim=0)
        if closest:
            # The closest pair is no farther than what looks like one is at most.
            off = (rows.squares + columns.squares) * self.slack + self.floor
            most = (least + rows.squares + off).clamp(min=0).sqrt() + rows.drift + columns.drift
            rows = rows.reaching(min(reach, (1 + 1e-6) * float(most.min())))
            columns = columns.reaching(-torch.inf)
        limit = self._limit(rows, columns)
        row = (least <= limit).nonzero()[:, 0]
        at, right = (tile[row] <= limit[row, None]).nonzero(as_tuple=True)
        left = row[at]
        hits = self._bounded(left + own.start, right + others.start, tile[left, right])
        return hits.where((hits.left < hits.right) & (hits.lower <= reach))

    def within(
        self, own: slice, others: slice, reach: float, weights: Int64[Tensor, " n"]
    ) -> tuple[int, Hits]:
        """The pairs of a tile that are surely within reach, counted, and those left open.

        Args:
            own: positions, as `tiles` gives them.
            others: likewise.
            reach: a distance.
            weights: of each position: a pair counts as often as the product of its two weights.
        """
        tile = self.squared(own, others)
        groups = tile.view(len(tile), -1, GROUP)
        everywhere = torch.full_like(self.drift, reach)
        rows = self._side(own, everywhere).across()
        columns = self._side(others, everywhere).grouped().farthest()
        upper = self._limit(rows, columns)[:, :, None]
        lower = self._limit(rows, columns, sign=-1.0)[:, :, None]
        above = torch.ones_like(tile, dtype=torch.bool).triu(1 + own.start - others.start)
        sure = (groups <= lower).view(tile.shape) & above
        open_ = (groups <= upper).view(tile.shape) & above & ~sure
        left, right = open_.nonzero(as_tuple=True)
        hits = self._bounded(left + own.start, right + others.start, tile[left, right])
        # Padding is never near. Whole numbers below 2^53 add up exactly in float64.
        by_row = sure[:, : len(self) - others.start].double() @ weights[others].double()
        return int(by_row.long() @ weights[own]), hits

    def nearest_of(
        self, own: slice, sample: Int64[Tensor, " sample"], k: int
    ) -> Float64[Tensor, " own"]:
        """What the distance of each row to its k-th nearest other row of a sample is at most."""
        left = self._multiplied(own)
        with precision_of(self.rounded.dtype):
            tile = torch.addmm(self.squares[sample], left, self._multiplied(sample).T, alpha=-2)
        values, columns = tile.topk(k + 1, dim=1, largest=False)
        rows = torch.arange(own.start, own.stop, device=tile.device).repeat_interleave(k + 1)
        bounds = self._bounded(rows, sample[columns.flatten()], values.flatten())
        bounds.upper[bounds.left == bounds.right] = torch.inf
        return bounds.upper.view(-1, k + 1).sort(dim=1).values[:, k - 1]

    def beyond(
        self,
        own: slice,
        others: slice,
        reach: Float64[Tensor, " n"],
        least: Float[Tensor, "own rest"],
    ) -> Hits:
        """The pairs of a tile whose distance may be at least ``least`` times the reach of a row.

        Args:
            own: positions, as `tiles` gives them.
            others: likewise.
            reach: a distance for each position; ``inf`` for one that looks for nothing.
            least: what each pair's reach is multiplied by; padding left out.
        """
        tile = self.squared(own, others)[:, : least.shape[1]]
        rest = slice(others.start, others.start + least.shape[1])
        dtype = tile.dtype
        within = torch.minimum(reach[own, None], reach[rest]).to(dtype) * least
        within -= (self.drift[own, None] + self.drift[rest]).to(dtype)
        own_squares = self.squares[own, None]
        off = (own_squares + self.squares[rest]) * self.slack + self.floor
        limit = within.clamp_(min=0).square_().sub_(own_squares + off)
        left, right = (tile >= limit).nonzero(as_tuple=True)
        hits = self._bounded(left + own.start, right + others.start, tile[left, right])
        return hits.where(hits.left < hits.right)

    def bounds(
        self, own: Int64[Tensor, " block"], others: Int64[Tensor, " others"] | None = None
    ) -> tuple[Float64[Tensor, "block others"], Float64[Tensor, "block others"]]:
        """What the distances between the rows at ``own`` and others are at least and at most.

        Args:
            own: positions.
            others: positions; all of them by default.
        """
        if others is None:
            others = torch.arange(len(self), device=own.device)
        with precision_of(self.rounded.dtype):
            product = self._multiplied(own) @ self._multiplied(others).T
        left, right = self.squares[own, None].double(), self.squares[None, others].double()
        squared = left + right - 2.0 * product.double()
        off = (left + right) * self.slack + self.floor
        drift = self.drift[own, None] + self.drift[None, others]
        lower = (squared - off).clamp(min=0).sqrt() - drift
        return lower, (squared + off).clamp(min=0).sqrt() + drift

    def _side(self, part: slice, reach: Float64[Tensor, " n"]) -> "Side":
        """What limits the pairs of some positions; padding looks for nothing and is near nothing."""
        length = part.stop - part.start
        dtype = self.squares.dtype
        end = min(part.stop, len(self))
        values = (reach[part], self.drift[part], self.squares[part.start : end])
        sides = []
        for value, padding in zip(values, (-torch.inf, 0.0, 0.0), strict=True):
            side = torch.full((length,), padding, dtype=dtype, device=value.device)
            side[: len(value)] = rounded_up(value, dtype)
            sides.append(side)
        return Side(*sides)

    def _groups_alike(
        self, tile: Float[Tensor, "own others"], rows: "Side", columns: "Side"
    ) -> tuple[Int64[Tensor, " some"], Int64[Tensor, " some"]]:
        """As `_groups`, by the farthest reaching column of each group: best if all are alike."""
        limit = self._limit(rows.across(), columns.farthest())
        row, group = (tile.view(len(tile), -1, GROUP).amin(2) <= limit).nonzero(as_tuple=True)
        return row, group

    def _groups(
        self,
        tile: Float[Tensor, "own others"],
        rows: "Side",
        columns: "Side",
        stretch: Float[Tensor, " own"],
    ) -> tuple[Int64[Tensor, " some"], Int64[Tensor, " some"]]:
        """The rows and groups of columns whose smallest entry is in reach of the row or a column."""
        shape = (len(tile), -1, GROUP)
        farthest = columns.farthest()
        by_row = self._limit(rows.across(), farthest.reaching(-torch.inf), stretch[:, None])
        near = tile.view(shape).amin(2) <= by_row
        # A column's reach b over stretch t and drift d is (bt + d)^2 = b^2 t^2 + 2bt d + d^2: the
        # first two terms are taken off each entry, so that no column stands for its group.
        drift = rows.drift + farthest.drift.amax()
        own = torch.stack([stretch.square(), 2 * stretch * drift], dim=1)
        reach = columns.reach.flatten()
        looking = reach >= 0
        reaches = torch.stack(
            [torch.where(looking, reach.square(), -torch.inf), torch.where(looking, reach, 0.0)]
        )
        with precision_of(tile.dtype):
            left = torch.addmm(tile, own, reaches, alpha=-1)
        by_column = self._limit(rows.reaching(0.0).across(), farthest.reaching(0.0))
        near |= left.view(shape).amin(2) <= by_column
        row, group = near.nonzero(as_tuple=True)
        return row, group

    def _limit(
        self, rows: "Side", columns: "Side", stretch: Tensor | float = 1.0, sign: float = 1.0
    ) -> Tensor:
        """What a tile's entry is at most where its pair lies within reach.

        With ``sign=-1``: an entry up to this means that its pair does.
        """
        within = torch.maximum(rows.reach, columns.reach) * stretch
        within = within + sign * (rows.drift + columns.drift)
        off = (rows.squares + columns.squares) * self.slack + self.floor
        limit = within.square() - rows.squares + sign * off
        # A reach beyond all numbers of the dtype is met by all rows, and not by padding.
        limit = limit.clamp(max=torch.finfo(limit.dtype).max)
        # A negative reach is never met, and squaring would hide it.
        return torch.where(within < 0, -torch.inf, limit)

    def _bounded(
        self,
        left: Int64[Tensor, " pairs"],
        right: Int64[Tensor, " pairs"],
        values: Float[Tensor, " pairs"],
    ) -> Hits:
        squares = self.squares[left].double()
        squared = values.double() + squares
        off = (squares + self.squares[right].double()) * self.slack + self.floor
        drift = self.drift[left] + self.drift[right]
        lower = (squared - off).clamp(min=0).sqrt() - drift
        return Hits(left, right, lower, (squared + off).clamp(min=0).sqrt() + drift)

    def _multiplied(self, part: slice | Tensor) -> Tensor:
        """Rows in the dtype they are multiplied in: bfloat16 values, held in float32."""
        chosen = self.rounded[part]
        return chosen.float() if chosen.dtype == torch.bfloat16 else chosen


def centre(rows: Float[Tensor, "n hidden"]) -> tuple[Float64[Tensor, " hidden"], float]:
    """The rows' mean, and a power of two at least as large as any centred coordinate."""
    n, width = rows.shape
    parts = _chunks(n, width)
    mean = torch.stack([rows[part].double().sum(0) for part in parts]).sum(0) / n
    largest = max(float((rows[part].double() - mean).abs().max()) for part in parts)
    return mean, 2.0 ** math.frexp(largest)[1] if largest > 0 else 1.0


def _chunks(n: int, width: int) -> list[slice]:
    """Slices of rows small enough for a float64 copy; one empty slice where there is no row."""
    step = max(1, _CHUNK_ELEMENTS // max(1, width))
    return [slice(start, min(start + step, n)) for start in range(0, max(n, 1), step)]


def _fields(hits: Hits) -> tuple[Tensor, ...]:
    return hits.left, hits.right, hits.lower, hits.upper
