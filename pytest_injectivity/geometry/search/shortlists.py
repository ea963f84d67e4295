"""Shortlists of each row's smallest values, from which minima over any subset are looked up.

Intervals of ratios between two models need nearest neighbors within a hundred random halves of the
prompts (SPEC section 2, "Intervals"). A row's nearest neighbor within a half is the first row of its
shortlist that is in the half. The probability that a half holds none of the 24 listed is 2^-24.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64, Int64
from pytest_injectivity.geometry.search.neighbors import k_nearest
from pytest_injectivity.geometry.search.products import center

_LISTED = 24


@dataclass(frozen=True)
class Shortlists:
    """The smallest values of each row, and the rows that attain them.

    Attributes:
        value: the smallest values of each row, ascending; padded with infinity.
        partner: the rows that attain these values.
    """

    value: Float64[np.ndarray, "n k"]
    partner: Int64[np.ndarray, "n k"]

    @classmethod
    def of_distances(cls, rows: Float[Tensor, "n hidden"]) -> "Shortlists":
        """List the exact distances of each row's nearest rows.

        Args:
            rows: at least two finite rows.
        """
        nearest = k_nearest(rows, min(_LISTED, len(rows) - 1))
        return cls(nearest.distance, nearest.index)

    @classmethod
    def of_ratios(
        cls, rows: Float[Tensor, "n hidden"], prompts: Float64[np.ndarray, "n n"]
    ) -> "Shortlists":
        """List each row's smallest ratios of distance to prompt distance, from all pairs at once.

        Args:
            rows: at least two finite rows, few enough for a matrix of them all.
            prompts: the prompt distance of each pair; infinite where it is not admissible.
        """
        # A matrix product in float64 is exact enough: intervals do not show a distance's last places.
        moved = rows.double() - center(rows)[0]
        squares = moved.square().sum(dim=1)
        apart = (squares[:, None] + squares - 2 * moved @ moved.T).clamp_(min=0).sqrt_()
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(np.isinf(prompts), np.inf, apart.cpu().numpy() / prompts)
        np.fill_diagonal(ratio, np.inf)
        listed = min(_LISTED, len(ratio) - 1)
        partner = np.argpartition(ratio, listed - 1, axis=1)[:, :listed]
        value = np.take_along_axis(ratio, partner, axis=1)
        order = value.argsort(axis=1, kind="stable")
        return cls(
            np.take_along_axis(value, order, axis=1), np.take_along_axis(partner, order, axis=1)
        )

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.value)

    def minima(self, rows: Int64[np.ndarray, " some"]) -> Float64[np.ndarray, " partnered"]:
        """Each given row's smallest listed value among the given rows; rows without one are left out."""
        among = np.zeros(len(self), bool)
        among[rows] = True
        listed = among[self.partner[rows]]
        first = self.value[rows, listed.argmax(axis=1)]
        found: Float64[np.ndarray, " partnered"] = first[listed.any(axis=1) & np.isfinite(first)]
        return found
