"""Squared norms of errors at the positions of prompts, and the ratios made of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pytest_injectivity.core.shapes import Bool, Float64, Int64


@dataclass(frozen=True, eq=False)
class Positions:
    """Squared norms at positions.

    Attributes:
        error: of the difference.
        reference: of what the difference is relative to.
        state: of the parent's state.
        place: prompt and position.
        chosen: the experts that the token is sent to; of no width where there are none.
        experts: how many experts there are.
    """

    error: Float64[np.ndarray, " positions"]
    reference: Float64[np.ndarray, " positions"]
    state: Float64[np.ndarray, " positions"]
    place: Int64[np.ndarray, "positions two"]
    chosen: Int64[np.ndarray, "positions choices"]
    experts: int = 0

    def at(self, chosen: Bool[np.ndarray, " positions"]) -> "Positions":
        """Some of the positions."""
        return Positions(
            self.error[chosen],
            self.reference[chosen],
            self.state[chosen],
            self.place[chosen],
            self.chosen[chosen],
            self.experts,
        )

    def of_prompts(self, rows: Sequence[int]) -> "Positions":
        """The same positions, with the prompts' own numbers in place of their rows in a batch."""
        prompts = np.array(rows)[self.place[:, 0]]
        return replace(self, place=np.stack([prompts, self.place[:, 1]], axis=1))

    @property
    def ratio(self) -> float:
        """The root of the errors' sum over the references'; NaN where there is no position."""
        if not len(self.error):
            return math.nan
        return root_of_quotient(float(self.error.sum()), float(self.reference.sum()))

    @property
    def relative(self) -> Float64[np.ndarray, " positions"]:
        """The error of each position, relative to its own reference."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.sqrt(np.where(self.error == 0, 0.0, self.error / self.reference))


def joined(parts: Sequence[Positions]) -> Positions:
    """The positions of several batches."""
    return Positions(
        np.concatenate([one.error for one in parts]),
        np.concatenate([one.reference for one in parts]),
        np.concatenate([one.state for one in parts]),
        np.concatenate([one.place for one in parts]),
        np.concatenate([one.chosen for one in parts]),
        parts[0].experts,
    )


def root_of_quotient(apart: float, exact: float) -> float:
    """``sqrt(apart / exact)``: 0 where nothing is apart, infinite where only ``exact`` is 0."""
    if apart == 0:
        return 0.0
    if math.isnan(apart) or math.isnan(exact):
        return math.nan
    return math.sqrt(apart / exact) if exact else math.inf
