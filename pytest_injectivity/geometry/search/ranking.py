"""Which of each row's candidates come first, for the candidates of many rows in one list.

Rows have different numbers of candidates, so that a table of them would be mostly empty; sorted lists do
without one.
"""

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float64, Int64


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
