"""The change of an embedding that makes two prompts of equal length one sequence of rows."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float64


def merged_rows(
    table: Float64[Tensor, "tokens hidden"], pair: tuple[Sequence[int], Sequence[int]]
) -> Float64[Tensor, "tokens hidden"] | None:
    """The smallest change after which tokens at the same position have equal rows.

    Both prompts are then one for every layer. Tokens that must be equal form classes, and the rows of a
    class go to their mean.

    Args:
        table: the embedding.
        pair: two prompts, as rows of the table.

    Returns:
        None for prompts of different lengths, which have no such change.

    Example:
        >>> rows = torch.tensor([[0.0], [2.0], [5.0]], dtype=torch.float64)
        >>> merged_rows(rows, ([0, 2], [1, 2])).flatten().tolist()
        [1.0, -1.0, 0.0]
    """
    if len(pair[0]) != len(pair[1]):
        return None
    classes = {row: {row} for prompt in pair for row in prompt}
    for one, two in zip(*pair, strict=True):
        if classes[one] is not classes[two]:
            classes[one] |= classes[two]
            for row in classes[two]:
                classes[row] = classes[one]
    change = torch.zeros_like(table)
    for row, others in classes.items():
        change[row] = table[sorted(others)].mean(0) - table[row]
    return change
