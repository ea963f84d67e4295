"""The two sides of a tile of products: what each of its rows and columns adds to a pair's limit.

A pair is out of reach where its entry in the tile exceeds a limit that depends on the reach, the
drift and the squared norm of its two rows (`tiles`). Entries are compared in the tile's own dtype,
so these numbers are rounded upwards to it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pytest_injectivity.geometry.search.sendable import Sendable

GROUP = 32
"""Columns of a tile that are compared together: taking the smallest of 32 entries costs, by entry, a
third of taking the smallest of 16."""


@dataclass(frozen=True)
class TileSide(Sendable):
    """What limits the pairs of some positions.

    Attributes:
        reach: the distance within which partners are looked for; ``-inf`` where none are.
        drift: how far rounding moved each row.
        squares: the squared norm of each rounded row.
    """

    reach: Tensor
    drift: Tensor
    squares: Tensor

    def reaching(self, reach: float) -> "TileSide":
        """The same positions with another reach."""
        return replace(self, reach=torch.full_like(self.reach, reach))

    def across(self) -> "TileSide":
        """As a column, to stand beside a row of columns."""
        return self._each(lambda values: values[:, None])

    def grouped(self) -> "TileSide":
        """By groups of a tile's columns."""
        return self._each(lambda values: values.view(-1, GROUP))

    def farthest(self, dim: int = 1) -> "TileSide":
        """The largest of each number over a group, or with ``dim=0`` over an ungrouped side."""
        return self._each(lambda values: values.amax(dim))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "TileSide":
        return TileSide(change(self.reach), change(self.drift), change(self.squares))


def rounded_up(values: Tensor, dtype: torch.dtype) -> Tensor:
    """The least numbers of a dtype that are not below the values."""
    rounded = values.to(dtype)
    above = torch.nextafter(rounded, torch.full_like(rounded, torch.inf))
    return torch.where(rounded < values, above, rounded)
