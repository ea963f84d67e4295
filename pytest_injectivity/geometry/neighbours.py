"""Each row's nearest other row, exactly, without a float64 pass over all pairs.

Float32 matrix products propose eight candidates a row, float64 subtraction decides among them, and
the product's proved error says whether a row outside the list could still be nearer. The few rows
where it could are searched again by float64 products, where every row within the bound is looked at
directly. Equal rows are set apart first, so ties of any size cost nothing.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from pytest_injectivity.geometry.collisions import EqualRows
from pytest_injectivity.geometry.distances import Products, full_precision, pair_distances

_CANDIDATES = 8


@dataclass(frozen=True)
class Neighbours:
    """The nearest other row of each row.

    Attributes:
        distance: ``r_i``, float64, in the states' own units.
        index: a row that attains it, the first one among equals.
        searched_again: rows whose float32 candidates could not be proved complete.
    """

    distance: Float64[np.ndarray, " n"]
    index: Int64[np.ndarray, " n"]
    searched_again: int


def nearest_neighbours(
    rows: Float[Tensor, "n hidden"], equal: EqualRows | None = None
) -> Neighbours:
    """Nearest neighbours by Euclidean distance, equal to a float64 search over all pairs.

    Args:
        rows: at least two finite rows.
        equal: the classes of equal rows, where the caller has them.
    """
    equal = equal or EqualRows.of(rows)
    kept = torch.from_numpy(equal.representatives).to(rows.device)
    n = len(rows)
    distance, index = np.zeros(n), np.zeros(n, dtype=np.int64)
    again = 0
    if len(kept) > 1:
        best, at, again = _among_distinct(rows[kept])
        distance[kept.cpu().numpy()] = best
        index[kept.cpu().numpy()] = kept.cpu().numpy()[at]
    for members in equal.classes:
        distance[members] = 0.0
        index[members] = members[0]
        index[members[0]] = members[1]
    return Neighbours(distance, index, again)


def _among_distinct(
    rows: Float[Tensor, "n hidden"],
) -> tuple[Float64[np.ndarray, " n"], Int64[np.ndarray, " n"], int]:
    best = torch.empty(len(rows), dtype=torch.float64, device=rows.device)
    index = torch.empty(len(rows), dtype=torch.int64, device=rows.device)
    open_rows = []
    width = min(_CANDIDATES, len(rows) - 1)
    products = Products.of(rows, torch.float32)
    with full_precision():
        for own in products.own_blocks():
            lower = products.lower(own)
            lower[torch.arange(len(own), device=own.device), own] = torch.inf
            bounds, columns = lower.topk(width, dim=1, largest=False)
            best[own], index[own] = _decide(rows, own, columns)
            # Rows outside the list are at least as far as its last bound. A tie stays open, so
            # that the first of several equally near rows is found whatever the block size is.
            proved = products.distance(bounds[:, -1]) > best[own]
            if width < len(rows) - 1:
                open_rows.append(own[~proved])
    again = torch.cat(open_rows) if open_rows else index[:0]
    if len(again):
        _search_again(rows, again, best, index)
    return best.cpu().numpy(), index.cpu().numpy(), len(again)


def _decide(
    rows: Float[Tensor, "n hidden"],
    own: Int64[Tensor, " block"],
    columns: Int64[Tensor, "block candidates"],
) -> tuple[Float64[Tensor, " block"], Int64[Tensor, " block"]]:
    """The nearest candidate of each row by float64 subtraction, the first one among equals."""
    columns = columns.sort(dim=1).values
    left = own.repeat_interleave(columns.shape[1])
    exact = pair_distances(rows, left, columns.flatten()).view(columns.shape)
    best = exact.min(dim=1).values
    first = (exact == best[:, None]).int().argmax(dim=1)
    return best, columns.gather(1, first[:, None])[:, 0]


def _search_again(
    rows: Float[Tensor, "n hidden"],
    again: Int64[Tensor, " some"],
    best: Float64[Tensor, " n"],
    index: Int64[Tensor, " n"],
) -> None:
    """Look directly at every row that float64 products cannot rule out; updates best and index."""
    products = Products.of(rows, torch.float64)
    for own in products.own_blocks(again):
        lower = products.distance(products.lower(own))
        lower[torch.arange(len(own), device=own.device), own] = torch.inf
        at, near = torch.nonzero(lower <= best[own, None], as_tuple=True)
        exact = pair_distances(rows, own[at], near)
        nearest = best[own].scatter_reduce(0, at, exact, "amin")
        best[own] = nearest
        tied = exact == nearest[at]
        index[own] = index.new_full(own.shape, len(rows)).scatter_reduce(
            0, at[tied], near[tied], "amin"
        )
