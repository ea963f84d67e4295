"""Mahalanobis' distance under the noise of a release, without the inverse of any large matrix.

Additive noise of covariance ``S`` makes ``exp(-(y - f) S^-1 (y - f)^T / 2)`` of a released row
``y`` as likely as the candidate's image ``f`` says (Mahalanobis, "On the generalized distance in
statistics", 1936). Noise in a few directions is the case that matters: Euclidean matching is lost
where those directions are loud, and the others still tell all. With ``S = D + A^T A``, ``D``
diagonal and ``A`` of few rows, the singular values of ``A D^(-1/2)`` give ``S^(-1/2)`` in the
product form of Woodbury's identity: scale each coordinate, then shrink along a few directions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float32, Float64
from pytest_injectivity.privacy.releases.noise import Noise

# Of the loudest direction: past it squares leave the range of float32.
_QUIETEST = 1e-12


@dataclass(frozen=True, eq=False)
class MahalanobisMetric:
    """How far a released row lies from an image.

    Attributes:
        variance: of one coordinate where that is all there is to know, and distances are Euclidean;
            else 1, and distances are Mahalanobis'. A squared distance over twice the variance is minus
            the logarithm of the likelihood, up to a constant.
        scale: what each coordinate is multiplied by; None: distances are Euclidean.
        directions: orthonormal rows along which scaled rows are shrunk.
        shrunk: by how much, 1 for all of it.
    """

    variance: float
    scale: Float64[Tensor, " width"] | None = None
    directions: Float64[Tensor, "rank width"] | None = None
    shrunk: Float64[Tensor, " rank"] | None = None

    @classmethod
    def of(cls, noise: Noise, nu: float) -> "MahalanobisMetric":
        """The metric of ``noise.covariance(nu)``.

        Args:
            noise: as an attacker knows it.
            nu: how far two evaluations of one candidate may lie apart; a direction in which it and
                the noise are both zero counts as far quieter than the loudest, not as silent.
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
        """Rows, or differences of rows, whose Euclidean lengths are the metric's; in float64."""
        exact = rows.double()
        if self.scale is None or self.directions is None or self.shrunk is None:
            return exact
        scaled = exact * self.scale.to(exact)
        along = (scaled @ self.directions.T.to(exact)) * self.shrunk.to(exact)
        return scaled - along @ self.directions.to(exact)

    def scouted(
        self, rows: Float32[Tensor, "rows width"]
    ) -> tuple[Float32[Tensor, "rows width"], float]:
        """As `whitened`, in float32, and a bound of how far each row may be off.

        A product with orthonormal directions rounds by at most its terms, times the root of how many
        directions there are, in units of the row's length.
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
"""Distances as they are."""
