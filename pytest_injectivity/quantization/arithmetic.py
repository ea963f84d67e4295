"""Rounds rows to a grid: extremes give a scale, a scale gives codes and values (SPEC section 2).

Captured states (`geometry.rounded_rows`) and activations of a running model (`activation_hooks`) are
both rounded by this arithmetic.
"""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float
from pytest_injectivity.quantization.grid import FLOATS, Grid


@dataclass(frozen=True)
class Scale:
    """Translates between numbers and the codes of a grid: a code stands for ``(code - zero) * step``.

    Codes of floats are their values in units of the smallest above zero.

    Step and zero point are single numbers ``(1, 1)``, one a column ``(1, hidden)`` or one a row
    ``(rows, 1)``.

    Attributes:
        grid: the grid.
        step: distance between neighboring codes (of floats: those next to zero), in the units of the
            rows; 0 where nothing but zeros was seen: there everything is rounded to zero.
        zero: the code that stands for zero; 0 on a symmetric grid.
    """

    grid: Grid
    step: Float[Tensor, "rows columns"]
    zero: Float[Tensor, "rows columns"]

    @property
    def digest(self) -> str:
        """A hash of the steps and zero points."""
        numbers = torch.cat([self.step.flatten(), self.zero.flatten()]).double().cpu().numpy()
        return hashlib.blake2b(numbers.tobytes(), digest_size=16).hexdigest()

    def codes(self, rows: Float[Tensor, "n hidden"]) -> Float[Tensor, "n hidden"]:
        """``clip(round(x / step) + zero)``, half to even, as whole numbers; NaN stays NaN.

        Floats are rounded to the nearest of their own, half to even.
        """
        exact = torch.where(self.step == 0, 0.0, rows.to(self.step.dtype) / self.step)
        if self.grid.floats:
            apart = _apart(exact, FLOATS[self.grid.floats].mantissa)
            exact = (exact / apart).round() * apart
        return (exact.round() + self.zero).clamp(*self.grid.ends)

    def values(self, codes: Float[Tensor, "n hidden"]) -> Float[Tensor, "n hidden"]:
        """The numbers that codes stand for."""
        return (codes - self.zero) * self.step


def _apart(values: Float[Tensor, "n hidden"], mantissa: int) -> Float[Tensor, "n hidden"]:
    """How far neighboring floats are apart about values, in units of the smallest above zero."""
    exponents = torch.frexp(values.nan_to_num()).exponent  # of a fraction from a half to one
    return torch.ldexp(torch.ones_like(values), (exponents - mantissa - 1).clamp(min=0))


class Extremes:
    """Collects the outermost values of rows that arrive in parts, and makes a scale of them.

    For each group (the layer, a channel, a token) it holds as many values as the percentile leaves out
    at one end, and one more. The scale is therefore exactly that of all rows at once, whatever the parts
    and their order.

    Args:
        grid: says what a group is, and the percentile.
        values: how many values a group has in all.
    """

    def __init__(self, grid: Grid, values: int) -> None:
        self._grid = grid
        self._held = 1 + grid.left_out(values)
        # The upper end and, for an asymmetric grid, the lower one with its sign turned.
        self._ends: list[Tensor] = []

    def add(self, rows: Float[Tensor, "n hidden"]) -> None:
        """Adds the rows of a part; at least one row."""
        groups = {"layer": rows.reshape(1, -1), "channel": rows.T, "token": rows}[self._grid.per]
        new = [groups.abs()] if self._grid.symmetric else [groups, -groups]
        if self._ends:
            new = [torch.cat(end, dim=1) for end in zip(self._ends, new, strict=True)]
        self._ends = [self._outermost(end) for end in new]

    def scale(self) -> Scale:
        """The scale of what was added; a NaN in a group makes its scale NaN."""
        # Double precision does not exist on mps.
        wide = torch.float32 if self._ends[0].device.type == "mps" else torch.float64
        high, *low = (end[:, -1:].to(wide) for end in self._ends)
        if self._grid.per == "channel":
            high, *low = high.T, *(end.T for end in low)
        _, most = self._grid.ends
        if not low:
            return Scale(self._grid, high / most, torch.zeros_like(high))
        # Zero is on the grid, whatever the values: a zero stays a zero.
        above, below = high.clamp(min=0), low[0].clamp(min=0)
        step = above / most + below / most
        return Scale(self._grid, step, torch.where(step == 0, 0.0, below / step).round())

    def _outermost(self, end: Tensor) -> Tensor:
        """The largest of each group, descending."""
        if self._held == 1:
            return end.amax(dim=1, keepdim=True)
        return end.topk(min(self._held, end.shape[1]), dim=1).values


def scale_of(rows: Float[Tensor, "n hidden"], grid: Grid) -> Scale:
    """The scale that rows give for themselves; at least one row."""
    n, hidden = rows.shape
    extremes = Extremes(grid, {"layer": n * hidden, "channel": n, "token": hidden}[grid.per])
    extremes.add(rows)
    return extremes.scale()
