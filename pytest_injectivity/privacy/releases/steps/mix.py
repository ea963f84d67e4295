"""``mix(over, matrix, batch, shield)``: multiplies the rows of each prompt by a fresh secret matrix.

The receiver has the draw and inverts the matrix. Over positions, released rows are combinations of the
rows of a batch of prompts, as in GELO (Belikov and Fedotov, "Good-Enough LLM Obfuscation", arXiv
2603.05035): of the prompt, of others that are drawn for it, and of shield vectors, which are Gaussian
and as long as rows are. Over coordinates, each row is multiplied as by `rotate`, with another matrix
for each prompt. An orthogonal matrix leaves inner products as they are; an invertible one, of singular
values from 1/2 to 2, does not.
"""

from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.config.release_spec import StepSpec
from pytest_injectivity.core.shapes import Float, Float64
from pytest_injectivity.errors import OptionError
from pytest_injectivity.privacy.releases.base import BaseRelease
from pytest_injectivity.privacy.releases.protocol import Release, Secret
from pytest_injectivity.privacy.releases.registry import RowScale, release_step
from pytest_injectivity.privacy.releases.rotation import random_rotation


@dataclass(frozen=True, eq=False)
class Batch:
    """What the rows of a prompt are mixed with.

    Attributes:
        prompts: the rows of the prompts that others are drawn from, of one number of rows each. The
            prompt itself is left out where it is among them.
        others: how many of them are drawn for a prompt.
        shield: how many shield vectors are drawn.
        typical: the standard deviation of their coordinates.
    """

    prompts: tuple[Float[Tensor, "_positions width"], ...] = field(default=(), repr=False)
    others: int = 0
    shield: int = 0
    typical: float = 0.0

    @property
    def added(self) -> int:
        """The number of rows that come to those of a prompt."""
        return self.others * len(self.prompts[0]) + self.shield if self.others else self.shield

    def joined(
        self, rows: Float[Tensor, "positions width"], draw: np.random.Generator
    ) -> Float64[Tensor, "more width"]:
        """The rows of a prompt, and after them all that is drawn."""
        itself = (at for at, one in enumerate(self.prompts) if torch.equal(one.to(rows), rows))
        free = np.delete(np.arange(len(self.prompts)), list(islice(itself, 1)))
        drawn = [self.prompts[at] for at in draw.permutation(free)[: self.others]]
        noise = draw.standard_normal((self.shield, rows.shape[1])) * self.typical
        # On the CPU, because Apple's GPUs have no float64.
        return torch.cat([*(one.cpu().double() for one in (rows, *drawn)), torch.from_numpy(noise)])


_ALONE = Batch()


@dataclass(frozen=True, eq=False)
class MixRelease(BaseRelease):
    """Mixes the rows of a prompt, or the coordinates of these rows.

    Attributes:
        positions: whether rows are mixed; else coordinates are.
        orthogonal: whether the matrix is orthogonal; else it is invertible.
        batch: what is mixed with the rows of a prompt, where rows are mixed.
    """

    positions: bool
    orthogonal: bool
    batch: Batch = _ALONE

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
    ) -> Float[Tensor, "more width"]:
        """The rows of the prompt's batch times a matrix drawn for it."""
        size = len(rows) + self.batch.added if self.positions else rows.shape[1]
        matrix = self._matrix(size, draw)
        return self._times(matrix, self.batch.joined(rows, draw)).to(rows)

    def undo(
        self, released: Float[Tensor, "more width"], draw: np.random.Generator
    ) -> Float[Tensor, "positions width"]:
        """The prompt's rows of the released ones times the inverse matrix."""
        matrix = self._matrix(released.shape[0 if self.positions else 1], draw)
        inverted = self._times(torch.linalg.inv(matrix), released.cpu().double())
        return inverted[: len(released) - self.batch.added].to(released)

    def _times(
        self, matrix: Float64[Tensor, "size size"], rows: Float64[Tensor, "more width"]
    ) -> Float64[Tensor, "more width"]:
        return matrix @ rows if self.positions else rows @ matrix

    def _matrix(self, size: int, draw: np.random.Generator) -> Float64[Tensor, "size size"]:
        turned = random_rotation(size, draw)
        if self.orthogonal:
            return turned
        scales = torch.from_numpy(2.0 ** draw.uniform(-1.0, 1.0, size))
        mixed: Tensor = (turned * scales) @ random_rotation(size, draw)
        return mixed


@release_step("mix", whole_rows=True)
def bind_mix(step: StepSpec, rows: RowScale) -> Release:
    """Makes the mixing; keys and values are mixed together."""
    positions = step.value("over", str) == "positions"
    orthogonal = step.value("matrix", str) == "orthogonal"
    return MixRelease(rows.width, positions, orthogonal, _batch(step, rows))


def _batch(step: StepSpec, rows: RowScale) -> Batch:
    """What a step says of the batch, with the prompts at hand."""
    prompts, shield = step.value("batch", int), step.value("shield", int)
    if prompts == 1 and not shield:
        return _ALONE
    if step.value("over", str) != "positions":
        raise OptionError(
            f"{step}: a batch has rows of several prompts, and coordinates of each row by itself are"
            " mixed here: give over=positions, or neither batch= nor shield="
        )
    if prompts == 1:
        return Batch(shield=shield, typical=rows.typical)
    if not rows.prompts:
        raise OptionError(
            f"{step}: the rows of other prompts are mixed as the model made them: give this step first"
        )
    if len(rows.prompts) < prompts:
        raise OptionError(
            f"{step}: batches are made of the prompts that are released, of which there are"
            f" {len(rows.prompts)}: give at least {prompts}, as with prompts={prompts}"
        )
    lengths = sorted({len(one) for one in rows.prompts})
    if len(lengths) > 1:
        raise OptionError(
            f"{step}: batches are made of prompts of one length, and these have {lengths[0]} to"
            f" {lengths[-1]} rows"
        )
    return Batch(rows.prompts, prompts - 1, shield, rows.typical)
