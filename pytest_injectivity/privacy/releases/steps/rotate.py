"""``rotate(seed, key)``: multiplies every row by one orthogonal matrix, which the receiver inverts.

The seed is the key that sender and receiver share. ``key=known`` gives it to the attacker as well.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_injectivity.config.release_spec import StepSpec
from pytest_injectivity.core.shapes import Float, Float64
from pytest_injectivity.privacy.releases.base import KeyedRelease
from pytest_injectivity.privacy.releases.protocol import Release, Secret
from pytest_injectivity.privacy.releases.registry import RowScale, release_step
from pytest_injectivity.privacy.releases.rotation import random_rotation


@dataclass(frozen=True, eq=False)
class RotateRelease(KeyedRelease):
    """Rotates every row by the same matrix."""

    hides = Secret.ROTATION

    def turned(self, rows: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """The rows times the matrix."""
        return _rotated(rows, random_rotation(self.width, self.seed))

    def turned_back(self, rows: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """The rows times the inverse matrix."""
        return _rotated(rows, random_rotation(self.width, self.seed).T)


@release_step("rotate")
def bind_rotate(step: StepSpec, rows: RowScale) -> Release:
    """Makes the rotation."""
    known = step.value("key", str) == "known"
    return RotateRelease(rows.width, step.value("seed", int), known=known)


def _rotated(
    rows: Float[Tensor, "rows width"], matrix: Float64[Tensor, "width width"]
) -> Float[Tensor, "rows width"]:
    # Apple's GPUs have no float64.
    home = torch.device("cpu") if rows.device.type == "mps" else rows.device
    return (rows.to(home).double() @ matrix.to(home)).to(rows.dtype).to(rows.device)
