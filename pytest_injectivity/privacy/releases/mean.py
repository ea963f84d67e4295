"""The mean of several releases of one prompt, each with a draw of its own.

Whoever receives a prompt several times averages what was drawn away: the noise of ``k`` releases is that
of one over the square root of ``k`` (Dwork and Roth, "The Algorithmic Foundations of Differential
Privacy", 2014, section 3.5, bound what many releases of one thing give away together).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64
from pytest_injectivity.privacy.releases.noise import Noise
from pytest_injectivity.privacy.releases.protocol import Release, Secret


@dataclass(frozen=True, eq=False)
class MeanRelease:
    """What remains of a release that was made several times.

    Attributes:
        release: the release; its first draw is that of one release alone.
        queries: how many times it was made.
    """

    release: Release
    queries: int

    @property
    def noise(self) -> Noise:
        """The noise of the mean of independent draws."""
        return self.release.noise.scaled(self.queries**-0.5)

    @property
    def ordered(self) -> bool:
        """Whether each release keeps the order of positions."""
        return self.release.ordered

    @property
    def secret(self) -> Secret:
        """What each release hides."""
        return self.release.secret

    def apply(
        self, rows: Float[Tensor, "positions width"], draw: np.random.Generator
    ) -> Float64[Tensor, "sent width"]:
        """The mean of all releases, in float64."""
        first = self.release.apply(rows, draw).double()
        further = [self.release.apply(rows, one).double() for one in draw.spawn(self.queries - 1)]
        return torch.stack([first, *further]).mean(dim=0)

    def undo(
        self,
        released: Float[Tensor, "sent width"],
        draw: np.random.Generator,  # noqa: ARG002 - no draw undoes a mean
    ) -> Float[Tensor, "sent width"]:
        """The mean as it is."""
        return released

    def image(self, candidates: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """The image under each release."""
        return self.release.image(candidates)
