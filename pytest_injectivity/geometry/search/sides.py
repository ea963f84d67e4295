"""The two sides of a tile of products: what each position contributes to the limit of its pairs."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Int64

GROUP = 32
"""Columns of a tile that are looked at together: the smallest of 32 entries costs a third, an entry, of
the smallest of 16."""


@dataclass(frozen=True)
class Side:
    """What limits the pairs of some positions, in the dtype of a tile, rounded upwards."""

    reach: Tensor
    drift: Tensor
    squares: Tensor

    def reaching(self, reach: float) -> "Side":
        """The same positions with another reach."""
        return replace(self, reach=torch.full_like(self.reach, reach))

    def at(self, index: Int64[Tensor, " some"]) -> "Side":
        """Some of the positions, or of the groups."""
        return self._each(lambda values: values[index])

    def across(self) -> "Side":
        """As a column, to stand beside a row of columns."""
        return self._each(lambda values: values[:, None])

    def grouped(self) -> "Side":
        """By groups of a tile's columns."""
        return self._each(lambda values: values.view(-1, GROUP))

    def farthest(self, dim: int = 1) -> "Side":
        """What limits a whole group, or with ``dim=0`` all of an ungrouped side."""
        return self._each(lambda values: values.amax(dim))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Side":
        return Side(change(self.reach), change(self.drift), change(self.squares))


def rounded_up(values: Tensor, dtype: torch.dtype) -> Tensor:
    """The least numbers of a dtype that are not below the values."""
    rounded = values.to(dtype)
    above = torch.nextafter(rounded, torch.full_like(rounded, torch.inf))
    return torch.where(rounded < values, above, rounded)
