"""Distances between rows, the two ways this room knows them.

`pair_distances` is the truth: direct subtraction in float64 from the rows' own dtype, summed in one
fixed order, so that block size, thread count and device change no bit.

`Products` is the scout: ``|a|^2 + |b|^2 - 2ab`` by matrix products over centred rows, 3 to 5 times
faster than any index on a CPU and wrong below about ``5e-4 |x|`` in float32. It therefore never
decides anything: it returns lower and upper bounds of the true distance, from the worst-case
rounding error of a dot product of d terms in any order (Higham, "Accuracy and Stability of
Numerical Algorithms", section 3.1), and callers look directly at whatever the bounds leave open.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

# Elements of one temporary: 2^22 float64 are 32 MB, so memory is bounded whatever N is.
_BLOCK_ELEMENTS = 2**22


def pair_distances(
    rows: Float[Tensor, "n hidden"],
    left: Int64[Tensor, " pairs"],
    right: Int64[Tensor, " pairs"],
) -> Float64[Tensor, " pairs"]:
    """Euclidean distances of pairs of rows, by direct subtraction in float64.

    Args:
        rows: states in the dtype the model computed them in.
        left: row index of each pair's one side.
        right: row index of its other side.
    """
    out = torch.empty(len(left), dtype=torch.float64, device=rows.device)
    step = max(1, _BLOCK_ELEMENTS // max(1, rows.shape[1]))
    for start in range(0, len(left), step):
        part = slice(start, start + step)
        difference = rows[left[part]].double() - rows[right[part]].double()
        out[part] = _root(sum_in_fixed_order(difference.square_()))
    return out


def sum_in_fixed_order(terms: Float64[Tensor, "n d"]) -> Float64[Tensor, " n"]:
    """Row sums by halving, elementwise: the same bits on every device; overwrites its argument."""
    while (width := terms.shape[1]) > 1:
        half = (width + 1) // 2
        terms[:, : width - half] += terms[:, half:]
        terms = terms[:, :half]
    return terms[:, 0]


def row_norms(rows: Float[Tensor, "n hidden"]) -> Float64[Tensor, " n"]:
    """Euclidean norms in float64."""
    step = max(1, _BLOCK_ELEMENTS // max(1, rows.shape[1]))
    parts = [sum_in_fixed_order(part.double().square()) for part in torch.split(rows, step)]
    return _root(torch.cat(parts))


def _root(squares: Float64[Tensor, " n"]) -> Float64[Tensor, " n"]:
    """Square roots, correctly rounded: on a CPU torch's are a unit off in 1 of 150 cases."""
    if squares.device.type != "cpu":
        return squares.sqrt()
    return torch.from_numpy(np.sqrt(squares.numpy()))


@dataclass(frozen=True)
class Products:
    """Rows ready for blocked matrix products whose error is proved.

    For rows i and j the product gives an approximate squared distance whose error, the rounding of
    the rows themselves included, is at most ``slack * (squares[i] + squares[j]) + floor``.
    Everything here is in units of ``scale``, a power of two that keeps squares from overflowing.

    Attributes:
        centred: rows minus their mean, scaled, rounded once to the products' dtype.
        squares: their squared norms.
        slack: relative error bound.
        floor: absolute error bound, for rows so much smaller than the largest that their squares
            underflow.
        scale: what a distance of centred rows is multiplied by to be one of the original rows.
    """

    centred: Float[Tensor, "n hidden"]
    squares: Float[Tensor, " n"]
    slack: float
    floor: float
    scale: float

    @classmethod
    def of(cls, rows: Float[Tensor, "n hidden"], dtype: torch.dtype) -> "Products":
        """Centre in float64 (an offset shared by all rows would eat the digits), round once."""
        exact = rows.double()
        exact = exact - exact.mean(0)
        largest = float(exact.abs().max()) if exact.numel() else 0.0
        scale = 2.0 ** math.frexp(largest)[1] if largest > 0 else 1.0
        centred = (exact / scale).to(dtype)
        # Dot product: d u per |a||b| <= (|a|^2 + |b|^2) / 2, twice; additions and the rounding of
        # the squares: 8 u; rounding of the rows: 6 u; the rest is room for gamma = du / (1 - du)
        # and for the rounding of the distance by subtraction that the bounds are compared with.
        slack = (1.1 * rows.shape[1] + 40) * torch.finfo(dtype).eps / 2
        # A coordinate, a product or a sum below the least normal number may be lost whole.
        floor = 16 * (rows.shape[1] + 1) * torch.finfo(dtype).tiny
        return cls(centred, row_norms(centred).square().to(dtype), slack, floor, scale)

    def own_blocks(
        self, chosen: Int64[Tensor, " chosen"] | None = None
    ) -> Iterator[Int64[Tensor, " block"]]:
        """Row indexes, all or those chosen, in blocks small enough to be held against all rows."""
        n = len(self.centred)
        if chosen is None:
            chosen = torch.arange(n, device=self.centred.device)
        return iter(torch.split(chosen, max(1, min(1024, 2 * _BLOCK_ELEMENTS // max(1, n)))))

    def lower(self, own: Int64[Tensor, " block"], first: int = 0) -> Float[Tensor, "block others"]:
        """Squared lower bounds between the rows ``own`` and all rows from ``first`` on; may be < 0."""
        return self._bound(own, first, -1.0)

    def upper(self, own: Int64[Tensor, " block"], first: int = 0) -> Float[Tensor, "block others"]:
        """Squared upper bounds, likewise."""
        return self._bound(own, first, 1.0)

    def distance(self, squared: Float[Tensor, "..."]) -> Float64[Tensor, "..."]:
        """A squared bound as a distance between the original rows."""
        return squared.double().clamp(min=0).sqrt() * self.scale

    def _bound(
        self, own: Int64[Tensor, " block"], first: int, side: float
    ) -> Float[Tensor, "block others"]:
        squares = self.squares * (1.0 + side * self.slack)
        product = torch.addmm(
            squares[None, first:], self.centred[own], self.centred[first:].T, alpha=-2
        )
        return product.add_(squares[own, None] + side * self.floor)


@contextmanager
def full_precision() -> Iterator[None]:
    """Products in float32 itself: TF32 and bfloat16 shortcuts would break the proved bound."""
    # Not torch.get_float32_matmul_precision: it raises where one backend has a setting of its own.
    mkldnn: Any = torch.backends.mkldnn
    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, mkldnn.matmul)
    before = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = "ieee"
    try:
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision
