"""Rounds the rows of a matrix in groups that share a scale, as quantized checkpoints do."""

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float
from pytest_injectivity.errors import OptionError


def rounded_in_groups(
    rows: Float[Tensor, "n width"], bits: int, group: int = 64
) -> Float[Tensor, "n width"]:
    """Each number rounded to the nearest of ``2^bits - 1`` values.

    Args:
        rows: they stay as they are.
        bits: at least 2.
        group: neighbors of a row that share a scale; all of them where the width is no multiple of it.

    Raises:
        OptionError: bits is less than 2.
    """
    if bits < 2:  # noqa: PLR2004 - one bit has no zero
        raise OptionError(f"bits={bits!r}: give an integer from 2")
    width = rows.shape[1]
    groups = rows.reshape(len(rows), -1, width if width % group else group)
    scale = groups.abs().amax(2, keepdim=True) / (2 ** (bits - 1) - 1)
    rounded: Tensor = torch.where(scale > 0, groups / scale, 0).round() * scale
    return rounded.reshape(rows.shape)
