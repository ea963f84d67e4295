"""Distances in units of the resolution of each coordinate (SPEC section 2).

Outlier coordinates round coarsely and the others do not, so one Euclidean number makes all coordinates
as coarse as the coarsest. In the scaled distance ``||(a - b) / sigma||`` every coordinate counts in
units of what two evaluations of it differ by.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64


@dataclass(frozen=True, eq=False)
class Scale:
    """The resolution of each coordinate at one group of positions.

    Attributes:
        values: ``sigma_l``: ``(hidden,)``, float64, above 0, in the states' units.

    Example:
        >>> scale = Scale(np.array([1.0, 0.5]))
        >>> scale.divided(torch.tensor([[2.0, 2.0]])).tolist()
        [[2.0, 4.0]]
    """

    values: Float64[np.ndarray, " hidden"]

    @cached_property
    def _sigma(self) -> Float64[Tensor, " hidden"]:
        # What the store reads is not writable, which torch would warn of.
        return torch.tensor(self.values)

    def divided(self, rows: Float[Tensor, "*some hidden"]) -> Float64[Tensor, "*some hidden"]:
        """States, or differences of states, in units of the resolution, on their device."""
        divided: Tensor = rows.double() / self._sigma.to(rows.device)
        return divided

    def norms(self, rows: Float[Tensor, "*some hidden"]) -> Float64[Tensor, "*some"]:
        """Scaled lengths of states or of differences of states."""
        norms: Tensor = torch.linalg.vector_norm(self.divided(rows), dim=-1)
        return norms

    def searchable(self, rows: Float[Tensor, "n hidden"]) -> Float[Tensor, "n hidden"]:
        """Scaled states for a search of near pairs: half precision fits float32 with room to spare."""
        fine = rows.dtype in {torch.float32, torch.float64}
        return self.divided(rows) if fine else self.divided(rows).float()

    def joined(self, other: "Scale") -> "Scale":
        """The coarser resolution of each coordinate, for two states of different positions."""
        return Scale(np.maximum(self.values, other.values))


@dataclass(frozen=True, eq=False)
class Scales:
    """The resolution of each coordinate by position.

    Attributes:
        first: at position 0.
        later: at every other position.
    """

    first: Scale
    later: Scale

    def at(self, position: int) -> Scale:
        """The scale at a position."""
        return self.later if position else self.first
