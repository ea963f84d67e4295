"""Releases made of releases: one after the other, or side by side."""

from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from pytest_injectivity.core.shapes import Float
from pytest_injectivity.privacy.releases.protocol import Noise, Release, Secret


@dataclass(frozen=True, eq=False)
class ChainedRelease:
    """Releases one after the other.

    Its image is the images one after the other and its noise the noises together: of a noise that is
    rounded or turned afterwards an attacker knows what it was before.
    """

    steps: tuple[Release, ...]

    @property
    def noise(self) -> Noise:
        """That of all steps."""
        return reduce(Noise.joined, (step.noise for step in self.steps))

    @property
    def ordered(self) -> bool:
        """Whether no step shuffles."""
        return all(step.ordered for step in self.steps)

    @property
    def secret(self) -> Secret:
        """What any step hides."""
        hidden = [step.secret for step in self.steps if step.secret is not Secret.NOTHING]
        return hidden[0] if hidden else Secret.NOTHING

    def apply(
        self, rows: Float[Tensor, "positions width"], draw: np.random.Generator
    ) -> Float[Tensor, "positions width"]:
        """What the last step sends; each has a draw of its own."""
        for step, own in zip(self.steps, draw.spawn(len(self.steps)), strict=True):
            rows = step.apply(rows, own)
        return rows

    def undo(
        self, released: Float[Tensor, "positions width"], draw: np.random.Generator
    ) -> Float[Tensor, "positions width"]:
        """Undone from the last step to the first."""
        pairs = list(zip(self.steps, draw.spawn(len(self.steps)), strict=True))
        for step, own in reversed(pairs):
            released = step.undo(released, own)
        return released

    def image(self, candidates: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """The image of the last step."""
        return reduce(lambda rows, step: step.image(rows), self.steps, candidates)


@dataclass(frozen=True, eq=False)
class SidewiseRelease:
    """Releases of the sides of a row, keys and values, each by itself.

    A scale or a share is a side's own: keys are several times as large as values.

    Attributes:
        parts: one a side.
        widths: of the sides.
    """

    parts: tuple[Release, ...]
    widths: tuple[int, ...]

    @property
    def noise(self) -> Noise:
        """That of each side on its coordinates."""
        noises = [part.noise for part in self.parts]
        before = [sum(self.widths[:at]) for at in range(len(self.parts))]
        factors = [
            pad(one.factor, (start, sum(self.widths) - start - width))
            for one, start, width in zip(noises, before, self.widths, strict=True)
        ]
        return Noise(torch.cat([one.sigma for one in noises]), torch.cat(factors))

    @property
    def ordered(self) -> bool:
        """Whether no side is shuffled."""
        return all(part.ordered for part in self.parts)

    @property
    def secret(self) -> Secret:
        """What any side hides."""
        hidden = [part.secret for part in self.parts if part.secret is not Secret.NOTHING]
        return hidden[0] if hidden else Secret.NOTHING

    def apply(
        self, rows: Float[Tensor, "positions width"], draw: np.random.Generator
    ) -> Float[Tensor, "positions width"]:
        """Both sides side by side, each with a draw of its own."""
        sides = zip(self.parts, self._split(rows), draw.spawn(len(self.parts)), strict=True)
        return torch.cat([part.apply(side, own) for part, side, own in sides], dim=1)

    def undo(
        self, released: Float[Tensor, "positions width"], draw: np.random.Generator
    ) -> Float[Tensor, "positions width"]:
        """Both sides side by side, each with a draw of its own."""
        sides = zip(self.parts, self._split(released), draw.spawn(len(self.parts)), strict=True)
        return torch.cat([part.undo(side, own) for part, side, own in sides], dim=1)

    def image(self, candidates: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """Both images side by side."""
        sides = zip(self.parts, self._split(candidates), strict=True)
        return torch.cat([part.image(side) for part, side in sides], dim=1)

    def _split(self, rows: Float[Tensor, "rows width"]) -> tuple[Float[Tensor, "rows _side"], ...]:
        return torch.split(rows, list(self.widths), dim=1)
