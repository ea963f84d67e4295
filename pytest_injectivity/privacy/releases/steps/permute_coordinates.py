"""``permute_coordinates(seed, key)``: all rows have their coordinates in one order, which is secret.

KV-Shield hides a KV cache in this way, by permuting the weights that compute it (Yang et al., "A First
Look At Efficient And Secure On-Device LLM Inference Against KV Leakage", arXiv 2409.04040). The seed is
the key that sender and receiver share. ``key=known`` gives it to the attacker as well.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pytest_injectivity.config.release_spec import StepSpec
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.privacy.releases.base import KeyedRelease
from pytest_injectivity.privacy.releases.protocol import Release, Secret
from pytest_injectivity.privacy.releases.registry import RowScale, release_step


@dataclass(frozen=True, eq=False)
class PermuteCoordinatesRelease(KeyedRelease):
    """Sends the coordinates of every row in the same order."""

    hides = Secret.PERMUTATION

    @property
    def _order(self) -> np.ndarray:
        return np.random.default_rng(self.seed).permutation(self.width)

    def turned(self, rows: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """The coordinates in the secret order."""
        return rows[:, self._order.tolist()]

    def turned_back(self, rows: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """The coordinates in their own order."""
        return rows[:, np.argsort(self._order).tolist()]


@release_step("permute_coordinates")
def bind_permute_coordinates(step: StepSpec, rows: RowScale) -> Release:
    """Makes the permutation."""
    known = step.value("key", str) == "known"
    return PermuteCoordinatesRelease(rows.width, step.value("seed", int), known=known)
