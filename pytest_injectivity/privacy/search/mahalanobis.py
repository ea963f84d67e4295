"""The Mahalanobis distance under the noise of a release, without the inverse of a large matrix.

Under additive Gaussian noise of covariance ``S`` the likelihood of a candidate's image ``f`` given a
released row ``y`` is ``exp(-(y - f) S^-1 (y - f)^T / 2)`` up to a constant (Mahalanobis, "On the
generalized distance in statistics", 1936). This matters where noise is loud in a few directions:
Euclidean distances are lost in those, while the others still identify the token. For ``S = D + A^T A``,
``D`` diagonal and ``A`` of few rows, the singular values of ``A D^(-1/2)`` give ``S^(-1/2)`` in the
product form of Woodbury's identity: scale each coordinate, then shrink along a few directions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float32, Float64
from pytest_injectivity.privacy.releases.noise import Noise

# The quietest direction, as a share of the loudest: below it squares leave the range of float32.
_QUIETEST = 1e-12


@dataclass(frozen=True, eq=False)
class MahalanobisMetric:
    """Measures the distance from a released row to an image.

    A squared distance over twice `variance` is minus the log-likelihood, up to a constant.

    Attributes:
        variance: variance of one coordinate, for Euclidean distances; 1 for Mahalanobis distances.
        scale: factor of each coordinate; None: distances are Euclidean.
        directions: orthonormal rows along which scaled rows are shrunk.
        shrunk: the share by which rows are shrunk along each direction.
    """

    variance: float
    scale: Float64[Tensor, " width"] | None = None
    directions: Float64[Tensor, "rank width"] | None = None
    shrunk: Float64[Tensor, " rank"] | None = None

    @classmethod
    def of(cls, noise: Noise, nu: float) -> "MahalanobisMetric":
        """The metric of ``noise.covariance(nu)``.

        Args:
            noise: the law of the noise.
            nu: how far two evaluations of one candidate may lie apart. Directions in which ``nu`` and
                the noise are both 0 get a variance far below the loudest one's, and not 0.
        """
        loudest = float(torch.cat([noise.sigma, noise.factor.flatten()]).abs().max())
        least = max(_QUIETEST * loudest, torch.finfo(torch.float32).tiny) ** 2
        variances = (noise.sigma.square() + nu**2).clamp(min=least)
        if noise.is_isotropic:
            return cls(float(variances[0]))
        scale = variances.rsqrt()
        _, spread, directions = torch.linalg.svd(noise.factor * scale, full_matrices=False)
        return cls(1.0, scale, directions, 1.0 - (1.0 + spread.square()).rsqrt())

    @property
    def is_euclidean(self) -> bool:
        """Whether distances are Euclidean."""
        return self.scale is None

    def whitened(self, rows: Float[Tensor, "rows width"]) -> Float64[Tensor, "rows width"]:
        """Rows or differences of rows whose Euclidean lengths are the metric's, in float64."""
        exact = rows.double()
        if self.scale is None or self.directions is None or self.shrunk is None:
            return exact
        scaled = exact * self.scale.to(exact)
        along = (scaled @ self.directions.T.to(exact)) * self.shrunk.to(exact)
        return scaled - along @ self.directions.to(exact)

    def whitened_float32(
        self, rows: Float32[Tensor, "rows width"]
    ) -> tuple[Float32[Tensor, "rows width"], float]:
        """Does as `whitened` in float32; also gives a bound of the error of each row.

        The rounding of a product with orthonormal directions is at most the number of its terms times
        the root of the number of directions, in units of the row's length.
        """
        if self.scale is None or self.directions is None or self.shrunk is None:
            return rows, 0.0
        scaled = rows * self.scale.to(rows)
        directions = self.directions.to(rows)
        along = (scaled @ directions.T) * self.shrunk.to(rows)
        rank, width = directions.shape
        longest = float(scaled.square().sum(dim=1).max()) ** 0.5
        off = 2.0**-24 * ((width + rank + 4) * rank**0.5 + 8) * longest
        return torch.addmm(scaled, along, directions, alpha=-1.0), off


EUCLIDEAN = MahalanobisMetric(1.0)
"""Euclidean distances."""
