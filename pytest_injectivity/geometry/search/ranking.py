"""Which of each row's candidates come first, in a list of the candidates of many rows or in a tile.

Rows have different numbers of candidates, so that a table of them would be mostly empty; sorted lists do
without one.
"""

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64, Int64
from pytest_injectivity.geometry.search.tile_sides import GROUP


def smallest(
    tile: Float[Tensor, "own others"], k: int
) -> tuple[Float[Tensor, "own k"], Int64[Tensor, "own k"]]:
    """The k smallest entries of each row, ascending, and their columns.

    The k smallest entries are in the k groups of columns with the smallest minima and in the columns
    that fill no group: taking minima costs a quarter of looking for the smallest among all.

    Args:
        tile: the entries.
        k: how many of each row, up to the number of columns.
    """
    height, width = tile.shape
    groups = width // GROUP
    if groups <= k:
        values, columns = tile.topk(k, dim=1, largest=False)
        return values, columns
    grouped = tile[:, : groups * GROUP].view(height, groups, GROUP)
    group = grouped.amin(2).topk(k, dim=1, largest=False).indices
    inside = torch.arange(GROUP, device=tile.device)
    columns = (group[:, :, None] * GROUP + inside).flatten(1)
    rest = torch.arange(groups * GROUP, width, device=tile.device)
    columns = torch.cat([columns, rest.expand(height, -1)], dim=1)
    values, at = tile.gather(1, columns).topk(k, dim=1, largest=False)
    return values, columns.gather(1, at)


def ranks(grouped: Int64[Tensor, " c"], n: int) -> Int64[Tensor, " c"]:
    """The place of each entry among those of its own row; entries of a row stand together.

    Args:
        grouped: the row of each entry, less than ``n``.
        n: how many rows there are.
    """
    counts = torch.bincount(grouped, minlength=n)
    return torch.arange(len(grouped), device=grouped.device) - (counts.cumsum(0) - counts)[grouped]


def first_k(
    left: Int64[Tensor, " c"],
    right: Int64[Tensor, " c"],
    distance: Float64[Tensor, " c"],
    n: int,
    k: int,
) -> tuple[Float64[Tensor, "n k"], Int64[Tensor, "n k"]]:
    """Of each row's candidates the k nearest, the first ones among equals."""
    # By row, then distance, then candidate: stable sorts from the last key to the first.
    order = right.argsort(stable=True)
    order = order[distance[order].argsort(stable=True)]
    order = order[left[order].argsort(stable=True)]
    left, right, distance = left[order], right[order], distance[order]
    rank = ranks(left, n)
    first = rank < k
    nearest = torch.full((n, k), torch.inf, dtype=torch.float64, device=left.device)
    index = torch.full((n, k), -1, dtype=torch.int64, device=left.device)
    nearest[left[first], rank[first]] = distance[first]
    index[left[first], rank[first]] = right[first]
    return nearest, index
