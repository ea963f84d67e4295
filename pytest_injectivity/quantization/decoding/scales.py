"""Applies scales and zero points to codes: one for a matrix, a row, a group of inputs or a block."""

from torch import Tensor

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
        block: rows and columns of a block, where the last blocks may be cut off. None: the grid divides
            the matrix.

    Raises:
        ValueError: the scales are no grid over the matrix.
    """
    outputs, inputs = codes.shape[-2:]
    spread = [
        _spread(one.float(), outputs, inputs, block) for one in (scales, zeros) if one is not None
    ]
    numbers = codes.float()
    if zeros is not None:
        numbers = numbers - spread[1]
    return numbers * spread[0]


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


def _spread(grid: Tensor, outputs: int, inputs: int, block: tuple[int, int] | None) -> Tensor:
    """A grid of numbers, repeated to the shape of a matrix."""
    if grid.numel() == 1:
        return grid.flatten()
    if grid.ndim == 1:
        grid = grid[:, None]
    rows, columns = grid.shape[-2:]
    high, wide = block or (_times(outputs, rows), _times(inputs, columns))
    if not (0 <= rows * high - outputs < high and 0 <= columns * wide - inputs < wide):
        raise ValueError(
            f"scales of shape {tuple(grid.shape)} are no grid over a matrix of {outputs} x {inputs}"
        )
    whole = grid.repeat_interleave(high, -2) if rows > 1 else grid
    whole = whole[..., :outputs, :]
    if columns == 1:
        return whole
    return whole.repeat_interleave(wide, -1)[..., :inputs]


def _times(size: int, parts: int) -> int:
    """How many numbers of ``size`` each part has; 0 where it is not divided."""
    return size // parts if parts and size % parts == 0 else 0
