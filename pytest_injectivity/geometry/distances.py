"""Distances between rows by direct subtraction in float64, with which every search ends.

The usual ``|a|^2 + |b|^2 - 2ab`` loses the digits that near pairs differ in. Sums run in one fixed
order, so that block size, thread count and device change no bit of a distance.
"""

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64, Int64

# Elements of one temporary: 2^17 float64 are 1 MB, which stays in the cache of a core from the
# subtraction to the sum. 8 MB went through memory at each step, and 32 MB came fresh from the system.
_BLOCK_ELEMENTS = 2**17


def pair_distances(
    rows: Float[Tensor, "n hidden"],
    left: Int64[Tensor, " pairs"],
    right: Int64[Tensor, " pairs"],
    *,
    block_elements: int = _BLOCK_ELEMENTS,
) -> Float64[Tensor, " pairs"]:
    """Euclidean distances of pairs of rows, by direct subtraction in float64.

    Args:
        rows: states in the dtype the model computed them in.
        left: row index of each pair's one side.
        right: row index of its other side.
        block_elements: of one temporary; it changes no bit of a distance.
    """
    out = torch.empty(len(left), dtype=torch.float64, device=rows.device)
    step = max(1, block_elements // max(1, rows.shape[1]))
    for start in range(0, len(left), step):
        part = slice(start, start + step)
        difference = rows[left[part]].double()
        difference -= rows[right[part]]
        out[part] = _root(sum_in_fixed_order(difference.square_()))
    return out


def sum_in_fixed_order(terms: Float64[Tensor, "n d"]) -> Float64[Tensor, " n"]:
    """Row sums by halving, elementwise: the same bits on every device; overwrites its argument."""
    while (width := terms.shape[1]) > 1:
        half = (width + 1) // 2
        terms[:, : width - half] += terms[:, half:]
        terms = terms[:, :half]
    return terms[:, 0]


def row_norms(
    rows: Float[Tensor, "n hidden"], *, block_elements: int = _BLOCK_ELEMENTS
) -> Float64[Tensor, " n"]:
    """Euclidean norms in float64.

    Args:
        rows: states in the dtype the model computed them in.
        block_elements: of one temporary; it changes no bit of a norm.
    """
    step = max(1, block_elements // max(1, rows.shape[1]))
    parts = [sum_in_fixed_order(part.double().square()) for part in torch.split(rows, step)]
    return _root(torch.cat(parts))


def _root(squares: Float64[Tensor, " n"]) -> Float64[Tensor, " n"]:
    """Square roots, correctly rounded: on a CPU torch's are a unit off in 1 of 150 cases."""
    if squares.device.type != "cpu":
        return squares.sqrt()
    return torch.from_numpy(np.sqrt(squares.numpy()))
