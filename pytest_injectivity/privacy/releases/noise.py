"""The law of a release's additive Gaussian noise, as an attacker knows it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float64


@dataclass(frozen=True, eq=False)
class Noise:
    """Gaussian noise of mean 0 and covariance ``diag(sigma^2) + factor^T factor``.

    Attributes:
        sigma: standard deviation of the independent part of each coordinate; zeros: no such part.
        factor: further directions of noise; the length of each row is its standard deviation. May
            have no row.
    """

    sigma: Float64[Tensor, " width"]
    factor: Float64[Tensor, "rank width"]

    @classmethod
    def none(cls, width: int) -> "Noise":
        """No noise on rows of a width."""
        return cls.isotropic(width, 0.0)

    @classmethod
    def isotropic(cls, width: int, sigma: float) -> "Noise":
        """Independent noise of standard deviation ``sigma`` on each coordinate."""
        zeros = torch.zeros(width, dtype=torch.float64)
        return cls(zeros + sigma, torch.zeros(0, width, dtype=torch.float64))

    @property
    def is_none(self) -> bool:
        """Whether nothing is added."""
        return not bool(self.sigma.any()) and not bool(self.factor.any())

    @property
    def is_isotropic(self) -> bool:
        """Whether all directions have the same noise, so that Euclidean distances rank candidates."""
        return not bool(self.factor.any()) and bool((self.sigma == self.sigma[0]).all())

    @property
    def rms(self) -> float:
        """Root mean square of what is added to one coordinate."""
        total = float(self.sigma.square().sum() + self.factor.square().sum())
        return math.sqrt(total / len(self.sigma))

    def joined(self, other: "Noise") -> "Noise":
        """The sum of two noises drawn independently."""
        return Noise(
            (self.sigma.square() + other.sigma.square()).sqrt(),
            torch.cat([self.factor, other.factor]),
        )

    def scaled(self, factor: float) -> "Noise":
        """The noise times a factor."""
        return Noise(self.sigma * factor, self.factor * factor)

    def covariance(self, nu: float = 0.0) -> Float64[Tensor, "width width"]:
        """The covariance plus ``nu^2 I``.

        Args:
            nu: how far two evaluations of a row may differ.
        """
        return self.factor.T @ self.factor + torch.diag(self.sigma.square() + nu**2)
