"""Each row's smallest values over the other rows, so that minima among any of them are looked up.

Intervals of ratios between two models need nearest neighbours within a hundred random halves of the
prompts (SPEC section 2, "Intervals"). A row's nearest within a half is the first of its nearest in all
that the half holds: of the 24 that are listed, a half holds none once in 2^24.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64, Int64
from pytest_injectivity.geometry.search.neighbours import k_nearest
from pytest_injectivity.geometry.search.products import centre

_LISTED = 24


@dataclass(frozen=True)
class Shortlists:
    """The smallest values of each row.

    Attributes:
        value: of each row, ascending; infinite where it has no more.
        partner: the rows that attain them.
    """

    value: Float64[np.ndarray, "n k"]
    partner: Int64[np.ndarray, "n k"]

    @classmethod
    def of_distances(cls, rows: Float[Tensor, "n hidden"]) -> "Shortlists":
        """The distances of the nearest rows, exactly.

        Args:
            rows: at least two finite rows.
        """
        nearest = k_nearest(rows, min(_LISTED, len(rows) - 1))
        return cls(nearest.distance, nearest.index)

    @classmethod
    def of_ratios(
        cls, rows: Float[Tensor, "n hidden"], prompts: Float64[np.ndarray, "n n"]
    ) -> "Shortlists":
        """The smallest ratios of distance to prompt distance, from all pairs at once.

        Args:
            rows: at least two finite rows, few enough for a matrix of them all.
            prompts: the prompt distance of each pair; infinite where it is not admissible.
        """
        # By a product in float64: what the last places of a distance are, no interval shows.
        moved = rows.double() - centre(rows)[0]
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
        """The smallest value of each of these rows among these rows, where one of them is listed."""
        among = np.zeros(len(self), bool)
        among[rows] = True
        listed = among[self.partner[rows]]
        first = self.value[rows, listed.argmax(axis=1)]
        found: Float64[np.ndarray, " partnered"] = first[listed.any(axis=1) & np.isfinite(first)]
        return found
