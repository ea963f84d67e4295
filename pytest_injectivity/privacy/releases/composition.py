"""Releases made of other releases: one after the other, or one for keys and one for values."""

from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from pytest_injectivity.core.shapes import Float
from pytest_injectivity.privacy.releases.noise import Noise
from pytest_injectivity.privacy.releases.protocol import Release, Secret


@dataclass(frozen=True, eq=False)
class ChainedRelease:
    """Releases applied one after the other.

    The image is the composition of the images, and the noise is the sum of the noises. That ignores what
    later steps do to the noise of earlier ones: an attacker knows the noise as it was before it was
    rounded or rotated.

    Attributes:
        steps: the releases, in the order in which they are applied.
    """

    steps: tuple[Release, ...]

    @property
    def noise(self) -> Noise:
        """The noises of all steps, drawn independently."""
        return reduce(Noise.joined, (step.noise for step in self.steps))

    @property
    def ordered(self) -> bool:
        """Whether no step shuffles the positions."""
        return all(step.ordered for step in self.steps)

    @property
    def secret(self) -> Secret:
        """What all steps hide together."""
        return Secret.joined(step.secret for step in self.steps)

    def apply(
        self, rows: Float[Tensor, "positions width"], draw: np.random.Generator
    ) -> Float[Tensor, "sent width"]:
        """What the last step sends; every step has an independent draw."""
        for step, own in zip(self.steps, draw.spawn(len(self.steps)), strict=True):
            rows = step.apply(rows, own)
        return rows

    def undo(
        self, released: Float[Tensor, "sent width"], draw: np.random.Generator
    ) -> Float[Tensor, "positions width"]:
        """Undoes the steps from the last to the first."""
        pairs = list(zip(self.steps, draw.spawn(len(self.steps)), strict=True))
        for step, own in reversed(pairs):
            released = step.undo(released, own)
        return released

    def image(self, candidates: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """The images of all steps, one after the other."""
        return reduce(lambda rows, step: step.image(rows), self.steps, candidates)


@dataclass(frozen=True, eq=False)
class SidewiseRelease:
    """Applies one release to the keys of a row and another to its values.

    Keys are several times as large as values, so that one scale or one share for both would leave
    nothing of the values.

    Attributes:
        parts: the release of each side.
        widths: the width of each side.
    """

    parts: tuple[Release, ...]
    widths: tuple[int, ...]

    @property
    def noise(self) -> Noise:
        """The noise of each side on its own coordinates."""
        noises = [part.noise for part in self.parts]
        before = [sum(self.widths[:at]) for at in range(len(self.parts))]
        factors = [
            pad(one.factor, (start, sum(self.widths) - start - width))
            for one, start, width in zip(noises, before, self.widths, strict=True)
        ]
        return Noise(torch.cat([one.sigma for one in noises]), torch.cat(factors))

    @property
    def ordered(self) -> bool:
        """Whether the positions of no side are shuffled."""
        return all(part.ordered for part in self.parts)

    @property
    def secret(self) -> Secret:
        """What all sides hide together."""
        return Secret.joined(part.secret for part in self.parts)

    def apply(
        self, rows: Float[Tensor, "positions width"], draw: np.random.Generator
    ) -> Float[Tensor, "positions width"]:
        """The sides released with independent draws, and joined."""
        sides = zip(self.parts, self._split(rows), draw.spawn(len(self.parts)), strict=True)
        return torch.cat([part.apply(side, own) for part, side, own in sides], dim=1)

    def undo(
        self, released: Float[Tensor, "positions width"], draw: np.random.Generator
    ) -> Float[Tensor, "positions width"]:
        """The sides undone with the draws they were released with, and joined."""
        sides = zip(self.parts, self._split(released), draw.spawn(len(self.parts)), strict=True)
        return torch.cat([part.undo(side, own) for part, side, own in sides], dim=1)

    def image(self, candidates: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """The images of the sides, joined."""
        sides = zip(self.parts, self._split(candidates), strict=True)
        return torch.cat([part.image(side) for part, side in sides], dim=1)

    def _split(self, rows: Float[Tensor, "rows width"]) -> tuple[Float[Tensor, "rows _side"], ...]:
        return torch.split(rows, list(self.widths), dim=1)
