"""Applies scales and zero points to codes: one for a matrix, a row, a group of inputs or a block."""

from torch import Tensor
from torch.nn.functional import pad

from pytest_injectivity.core.shapes import Float, Int


def scaled(
    codes: Tensor,
    scales: Float[Tensor, "..."],
    *,
    zeros: Tensor | None = None,
    block: tuple[int, int] | None = None,
) -> Float[Tensor, "..."]:
    """``(code - zero) * scale`` in float32, each rounded once.

    Args:
        codes: a matrix, or several of one shape, ``(..., outputs, inputs)``.
        scales: a number, or a grid of them: each holds for a block of the matrix.
        zeros: codes that stand for zero, shaped as the scales.
        block: rows and columns of a block, where the last blocks may be cut off. None: there is a scale
            a matrix, or each row has its own, of groups of equal size.

    Raises:
        ValueError: the scales are no grid over the matrix.
    """
    outputs, inputs = codes.shape[-2:]
    numbers = codes.float()
    grids = [_grid(one) for one in (scales, zeros) if one is not None]
    rows, columns = grids[0].shape[-2:]
    of_rows = 1 if (rows, columns) != (1, 1) else outputs
    high, wide = block or (of_rows, _times(inputs, columns))
    if any(grid.shape[-2:] != (rows, columns) for grid in grids) or not (
        0 <= rows * high - outputs < high and 0 <= columns * wide - inputs < wide
    ):
        shapes = " and ".join(str(tuple(grid.shape)) for grid in grids)
        raise ValueError(
            f"scales of shape {shapes} are no grid over a matrix of {outputs} x {inputs}"
        )
    if (rows * high, columns * wide) != (outputs, inputs):
        # The last blocks are cut off: they are filled up, and cut again.
        numbers = pad(numbers, (0, columns * wide - inputs, 0, rows * high - outputs))
    blocks = numbers.reshape(*numbers.shape[:-2], rows, high, columns, wide)
    scale, *center = (grid[..., :, None, :, None] for grid in grids)
    if center:
        blocks = blocks - center[0]
    return (blocks * scale).reshape(numbers.shape)[..., :outputs, :inputs]


def by_order(scales: Tensor, order: Int[Tensor, " inputs"]) -> Tensor:
    """The scale of each input, where inputs name their groups.

    Args:
        scales: ``(outputs, groups)``.
        order: the group of each input.

    Raises:
        ValueError: an input names a group that does not exist.
    """
    groups = scales.shape[-1]
    if order.numel() and not 0 <= int(order.min()) <= int(order.max()) < groups:
        raise ValueError(
            f"inputs name groups {int(order.min())} to {int(order.max())}, and there are {groups}"
        )
    return scales[..., order.long()]


def _grid(numbers: Tensor) -> Tensor:
    """Scales with a dimension for rows and one for columns: a single one is for all, a list for rows."""
    wide = numbers.float()
    if wide.numel() == 1:
        return wide.reshape(1, 1)
    return wide[:, None] if wide.ndim == 1 else wide


def _times(size: int, parts: int) -> int:
    """How many numbers of ``size`` each part has; 0 where it is not divided."""
    return size // parts if parts and size % parts == 0 else 0
