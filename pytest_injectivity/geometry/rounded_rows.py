"""Post-hoc quantization of activations: captured rows are rounded, and no error propagates.

SPEC section 2 defines the grids; the figure reproduced is [VS] figure 4.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64, Int64
from pytest_injectivity.errors import OptionError
from pytest_injectivity.quantization.arithmetic import Scale, scale_of
from pytest_injectivity.quantization.grid import Grid, GridLike


@dataclass(frozen=True)
class QuantizedRows:
    """A layer's rows on a grid.

    Attributes:
        codes: integer codes.
        rows: the values that the codes stand for, float64.
        scale: turns codes into values; its steps are in the states' units.
    """

    codes: Int64[Tensor, "n hidden"]
    rows: Float64[Tensor, "n hidden"]
    scale: Scale

    @property
    def stored(self) -> Int64[Tensor, "n stored"]:
        """What is stored of each row; exact collisions are counted on it.

        These are the codes and, where each row has its own scale, the bits of its step and its zero
        point, because equal codes under different scales stand for different rows.
        """
        if self.scale.grid.per != "token":
            return self.codes
        step, zero = self.scale.step, self.scale.zero
        return torch.cat([self.codes, step.contiguous().view(torch.int64), zero.long()], dim=1)


def quantize(
    rows: Float[Tensor, "n hidden"],
    grid: GridLike,
    calibration: Float[Tensor, "calibration width"] | None = None,
) -> QuantizedRows:
    """Rounds rows to a grid: ``clip(round(x / step) + zero)``, half to even; or to floats of 8 bits.

    Symmetric: ``step = max|x| / (2^(b-1) - 1)``. Asymmetric: ``step = (max - min) / (2^b - 1)`` with
    ``zero = round(-min / step)``, where the range is widened to zero if it does not hold it. With
    ``clip`` a percentile replaces ``max|x|``, or both ends.

    A channel or a token of zeros stays zero; a constant one is kept exactly. A channel that is zero in
    all calibration rows is rounded to zero.

    Args:
        rows: finite states of one layer.
        grid: the grid, see `Grid`.
        calibration: finite states that the scale comes from; None: it comes from the rows.

    Raises:
        OptionError: the grid is not accepted, the calibration does not fit it or the rows, or all
            values are zero, so that there is no scale.
    """
    grid = Grid.parse(grid)
    source = rows if calibration is None else calibration
    if calibration is not None and grid.per == "token":
        raise OptionError(f"{grid.words}: each row has its own scale: give no calibration rows")
    if calibration is None and grid.calibrated is not None:
        raise OptionError(f"{grid.words}: give the rows of these prompts as calibration")
    if source.shape[1] != rows.shape[1]:
        raise OptionError(
            f"calibration rows of width {source.shape[1]} for rows of width {rows.shape[1]}: give"
            " rows of the same layer"
        )
    scale = scale_of(source, grid) if len(source) else None
    if scale is None or not bool(scale.step.any()):
        what = "a layer that is" if calibration is None else "calibration rows that are"
        has = "has" if calibration is None else "have"
        raise OptionError(f"{what} zero everywhere {has} no scale for {grid.words}")
    codes = scale.codes(rows)
    return QuantizedRows(codes.long(), scale.values(codes), scale)
