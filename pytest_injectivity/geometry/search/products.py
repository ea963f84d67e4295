"""Squared distances of all pairs by matrix products, with a proved bound of their error.

``|a|^2 + |b|^2 - 2ab`` is the fast way to all pairs, and wrong below about ``5e-4 |x|`` in float32.
It is therefore used as a coarse filter only: it shows which pairs may lie within a distance, none
missed, and the searches compute the distances of those by subtraction in float64 (`distances`).

Three things move a product away from the exact value, and each is bounded:

- rows are centered (an offset shared by all would eat the digits) and rounded, to bfloat16 where the
  machine multiplies it faster (`kernels`). How far that moves row i is not estimated but measured,
  ``drift[i]``; by the triangle inequality a distance moves by at most ``drift[i] + drift[j]``;
- a dot product of d terms, summed in any order, is off by at most ``d u |a| |b|`` (Higham, "Accuracy
  and Stability of Numerical Algorithms", section 3.1), and so are the squares: ``slack``;
- terms below the least normal number may be lost entirely: ``floor``.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64, Int64
from pytest_injectivity.geometry.distances import row_norms
from pytest_injectivity.geometry.search.kernels import kernel_for
from pytest_injectivity.geometry.search.limits import DEFAULT_LIMITS, SearchLimits
from pytest_injectivity.geometry.search.possible_pairs import PossiblePairs
from pytest_injectivity.geometry.search.precision import precision_of
from pytest_injectivity.geometry.search.ranking import smallest
from pytest_injectivity.geometry.search.scratch import Scratch
from pytest_injectivity.geometry.search.sendable import Sendable
from pytest_injectivity.geometry.search.tile_sides import GROUP, TileSide, rounded_up

_TENSOR_CORES = 4.0
"""Tensor cores add up by cutting digits off: their error bound is a few times Higham's."""


@dataclass(frozen=True)
class Products(Sendable):
    """Rows ready for blocked matrix products. Everything is in units of ``scale``.

    Attributes:
        order: the row of the caller that stands at each position.
        rounded: the centered rows, padded with zeros to whole groups.
        squares: squared norms of the rounded rows; infinite for padding, which is near nothing.
        drift: how far rounding moved each row.
        slack: bound of the error of a pair's entry, relative to the sum of its two squared norms.
        floor: bound of the error by terms below the least normal number.
        scale: a power of two that keeps squares from overflowing: a distance times it is one of the
            caller's rows.
        limits: sizes of tiles, of chunks and of parts of a search.
        scratch: the memory that one tile after the other is written to.
    """

    order: Int64[Tensor, " n"]
    rounded: Float[Tensor, "padded hidden"]
    squares: Float[Tensor, " padded"]
    drift: Float64[Tensor, " n"]
    slack: float
    floor: float
    scale: float
    limits: SearchLimits = DEFAULT_LIMITS
    scratch: Scratch = field(default_factory=Scratch, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        rows: Float[Tensor, "n hidden"],
        *,
        order: Int64[Tensor, " n"] | None = None,
        dtype: torch.dtype | None = None,
        limits: SearchLimits = DEFAULT_LIMITS,
    ) -> "Products":
        """Center the rows in float64 and round them once.

        Args:
            rows: finite rows.
            order: the order they shall stand in; as they are by default.
            dtype: what they are rounded to; the fastest for so many rows by default (`kernels`).
            limits: sizes of tiles, of chunks and of parts of a search.
        """
        n, width = rows.shape
        dtype = dtype or kernel_for(n, width, rows.device)
        if order is None:
            order = torch.arange(n, device=rows.device)
        mean, scale = center(rows, limits.chunk_elements)
        padded = -(-n // GROUP) * GROUP
        rounded = torch.zeros(padded, width, dtype=dtype, device=rows.device)
        drift = torch.empty(n, dtype=torch.float64, device=rows.device)
        unit = torch.finfo(torch.float64).eps
        for part in chunks(n, width, limits.chunk_elements):
            exact = (rows[order[part]].double() - mean) / scale
            rounded[part] = exact.to(dtype)
            # Centering rounds too, and so do sums of squares, in the last places of float64.
            moved = torch.linalg.vector_norm(exact - rounded[part], dim=1)
            last_places = unit * torch.linalg.vector_norm(exact, dim=1)
            drift[part] = (1 + width * unit) * (moved + last_places)
        summed = torch.float64 if dtype == torch.float64 else torch.float32
        squares = torch.full((padded,), torch.inf, dtype=summed, device=rows.device)
        squares[:n] = row_norms(rounded[:n]).square().to(summed)
        # Per |a||b| <= (|a|^2 + |b|^2) / 2: d u twice for the product; 8 u for the additions and the
        # rounding of the squares; the rest is room for gamma = du / (1 - du) and for the limits.
        factor = _TENSOR_CORES if rows.device.type == "cuda" else 1.0
        slack = factor * (1.1 * width + 40) * torch.finfo(summed).eps / 2
        floor = 16 * (width + 1) * torch.finfo(torch.float32).tiny
        return cls(order, rounded, squares, drift, slack, floor, scale, limits)

    def __len__(self) -> int:
        return len(self.order)

    @cached_property
    def side(self) -> TileSide:
        """What limits the pairs of each position, padding among them; each looks for nothing."""
        dtype, n = self.squares.dtype, len(self)
        drift, squares = torch.zeros_like(self.squares), torch.zeros_like(self.squares)
        drift[:n] = rounded_up(self.drift, dtype)
        squares[:n] = self.squares[:n]
        return TileSide(torch.full_like(drift, -torch.inf), drift, squares)

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
        height, width = self.limits.tile_rows, self.limits.tile_columns
        for start in range(0, len(self), height):
            own = slice(start, min(start + height, len(self)))
            for first in range(start, len(self), width):
                yield own, slice(first, min(first + width, len(self.rounded)))

    def parts(self) -> list[list[tuple[slice, slice]]]:
        """The tiles in parts of a few seconds of work, after each of which a search can be resumed."""
        tiles, n = list(self.tiles()), len(self)
        parts = min(len(tiles), 1 + n * n // 2 // self.limits.part_pairs)
        ends = [part * len(tiles) // parts for part in range(parts + 1)]
        return [tiles[start:end] for start, end in pairwise(ends)]

    def squared(
        self, own: slice, others: slice | Int64[Tensor, " others"]
    ) -> Float[Tensor, "own others"]:
        """Approximate squared distances, less the squares of the rows ``own``.

        The next call writes to the same memory.

        Args:
            own: positions, padding among them.
            others: likewise, in any order.
        """
        left, right = (self._multiplied(part) for part in (own, others))
        tile = self.scratch.tensor("tile", (len(left), len(right)), self.squares)
        with precision_of(self.rounded.dtype):
            return torch.addmm(self.squares[others], left, right.T, alpha=-2, out=tile)

    def nearest_of(
        self, own: slice, sample: Int64[Tensor, " sample"], k: int
    ) -> Float64[Tensor, " own"]:
        """What the distance of each row to its k-th nearest other row of a sample is at most."""
        values, columns = smallest(self.squared(own, sample), k + 1)
        rows = torch.arange(own.start, own.stop, device=sample.device).repeat_interleave(k + 1)
        bounds = self.bounded(rows, sample[columns.flatten()], values.flatten())
        bounds.upper[bounds.left == bounds.right] = torch.inf
        return bounds.upper.view(-1, k + 1).sort(dim=1).values[:, k - 1]

    def bounds(
        self, own: Int64[Tensor, " block"]
    ) -> tuple[Float64[Tensor, "block n"], Float64[Tensor, "block n"]]:
        """What the distances between the rows at some positions and all rows are at least and at most.

        Args:
            own: the positions.
        """
        others = slice(0, len(self))
        with precision_of(self.rounded.dtype):
            product = self._multiplied(own) @ self._multiplied(others).T
        left, right = self.squares[own, None].double(), self.squares[None, others].double()
        squared = left + right - 2.0 * product.double()
        off = (left + right) * self.slack + self.floor
        drift = self.drift[own, None] + self.drift[None, others]
        lower = (squared - off).clamp(min=0).sqrt() - drift
        return lower, (squared + off).clamp(min=0).sqrt() + drift

    def bounded(
        self,
        left: Int64[Tensor, " pairs"],
        right: Int64[Tensor, " pairs"],
        values: Float[Tensor, " pairs"],
    ) -> PossiblePairs:
        """What the distances of some pairs are at least and at most.

        Args:
            left: positions.
            right: likewise.
            values: the pairs' entries in their tiles, as `squared` gives them.
        """
        squares = self.squares[left].double()
        squared = values.double() + squares
        off = (squares + self.squares[right].double()) * self.slack + self.floor
        drift = self.drift[left] + self.drift[right]
        lower = (squared - off).clamp(min=0).sqrt() - drift
        return PossiblePairs(left, right, lower, (squared + off).clamp(min=0).sqrt() + drift)

    def _multiplied(self, part: slice | Tensor) -> Tensor:
        """Rows in the dtype they are multiplied in: bfloat16 values, held in float32."""
        chosen = self.rounded[part]
        return chosen.float() if chosen.dtype == torch.bfloat16 else chosen


def center(
    rows: Float[Tensor, "n hidden"], chunk_elements: int = DEFAULT_LIMITS.chunk_elements
) -> tuple[Float64[Tensor, " hidden"], float]:
    """The rows' mean, and a power of two at least as large as any centered coordinate."""
    n, width = rows.shape
    parts = chunks(n, width, chunk_elements)
    mean = torch.stack([rows[part].double().sum(0) for part in parts]).sum(0) / n
    largest = max(float((rows[part].double() - mean).abs().max()) for part in parts)
    return mean, 2.0 ** math.frexp(largest)[1] if largest > 0 else 1.0


def chunks(n: int, width: int, elements: int) -> list[slice]:
    """Slices of rows small enough for a float64 copy; one empty slice where there is no row."""
    step = max(1, elements // max(1, width))
    return [slice(start, min(start + step, n)) for start in range(0, max(n, 1), step)]
