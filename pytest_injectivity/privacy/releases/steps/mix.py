"""``mix(over, matrix)``: multiplies the rows of each prompt by a fresh secret matrix.

The receiver has the draw and inverts the matrix. Over positions, released rows are combinations of the
prompt's rows, as in GELO (Belikov and Fedotov, "Good-Enough LLM Obfuscation", arXiv 2603.05035), there
of all rows of a batch and without the shield vectors that it adds. Over coordinates, each row is
multiplied as by `rotate`, with another matrix for each prompt. An orthogonal matrix leaves inner
products as they are; an invertible one, of singular values from 1/2 to 2, does not.
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
class MixRelease(DeterministicRelease):
    """Mixes the rows of a prompt, or the coordinates of these rows.

    Attributes:
        positions: whether rows are mixed; else coordinates are.
        orthogonal: whether the matrix is orthogonal; else it is invertible.
    """

    positions: bool
    orthogonal: bool

    @property
    def ordered(self) -> bool:
        """No released row is that of one position where rows are mixed."""
        return not self.positions

    @property
    def secret(self) -> Secret:
        """The matrix of each prompt."""
        return Secret.MIXED_POSITIONS if self.positions else Secret.MIXED_COORDINATES

    def apply(
        self, rows: Float[Tensor, "positions width"], draw: np.random.Generator
    ) -> Float[Tensor, "positions width"]:
        """The rows times a matrix drawn for the prompt."""
        return self._times(rows, self._matrix(rows, draw))

    def undo(
        self, released: Float[Tensor, "positions width"], draw: np.random.Generator
    ) -> Float[Tensor, "positions width"]:
        """The released rows times the inverse matrix."""
        return self._times(released, torch.linalg.inv(self._matrix(released, draw)))

    def _matrix(self, rows: Tensor, draw: np.random.Generator) -> Float64[Tensor, "size size"]:
        size = rows.shape[0 if self.positions else 1]
        turned = random_rotation(size, draw)
        if self.orthogonal:
            return turned
        scales = torch.from_numpy(2.0 ** draw.uniform(-1.0, 1.0, size))
        mixed: Tensor = (turned * scales) @ random_rotation(size, draw)
        return mixed

    def _times(
        self, rows: Float[Tensor, "positions width"], matrix: Float64[Tensor, "size size"]
    ) -> Float[Tensor, "positions width"]:
        # On the CPU, because Apple's GPUs have no float64.
        exact = rows.cpu().double()
        mixed = matrix @ exact if self.positions else exact @ matrix
        return mixed.to(rows.dtype).to(rows.device)


@release_step("mix", whole_rows=True)
def bind_mix(step: StepSpec, rows: RowScale) -> Release:
    """Makes the mixing; keys and values are mixed together."""
    positions = step.value("over", str) == "positions"
    return MixRelease(rows.width, positions, step.value("matrix", str) == "orthogonal")
