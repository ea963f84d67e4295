"""``rotate(seed, key)``: multiplies every row by one orthogonal matrix, which the receiver inverts.

The seed is the key that sender and receiver share. ``key=known`` gives it to the attacker as well.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.config.release_spec import StepSpec
from pytest_injectivity.core.shapes import Float, Float64
from pytest_injectivity.privacy.releases.base import DeterministicRelease
from pytest_injectivity.privacy.releases.protocol import Release, Secret
from pytest_injectivity.privacy.releases.registry import RowScale, release_step
from pytest_injectivity.privacy.releases.rotation import random_rotation


@dataclass(frozen=True, eq=False)
class RotateRelease(DeterministicRelease):
    """Rotates every row by the same matrix.

    Attributes:
        seed: the key, which the matrix is drawn by.
        known: whether an attacker has the key.
    """

    seed: int
    known: bool = False

    @property
    def secret(self) -> Secret:
        """The rotation, unless the key is known."""
        return Secret.NOTHING if self.known else Secret.ROTATION

    def apply(
        self,
        rows: Float[Tensor, "positions width"],
        draw: np.random.Generator,  # noqa: ARG002 - the seed is the key
    ) -> Float[Tensor, "positions width"]:
        """The rows times the matrix."""
        return _rotated(rows, random_rotation(self.width, self.seed))

    def undo(
        self,
        released: Float[Tensor, "positions width"],
        draw: np.random.Generator,  # noqa: ARG002 - the seed is the key
    ) -> Float[Tensor, "positions width"]:
        """The rows times the inverse matrix."""
        return _rotated(released, random_rotation(self.width, self.seed).T)

    def image(self, candidates: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """The rotated candidates where the key is known, else the candidates as they are."""
        if not self.known:
            return candidates.clone()
        return _rotated(candidates, random_rotation(self.width, self.seed))


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
