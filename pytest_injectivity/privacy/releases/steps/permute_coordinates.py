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
from pytest_injectivity.privacy.releases.base import DeterministicRelease
from pytest_injectivity.privacy.releases.protocol import Release, Secret
from pytest_injectivity.privacy.releases.registry import RowScale, release_step


@dataclass(frozen=True, eq=False)
class PermuteCoordinatesRelease(DeterministicRelease):
    """Sends the coordinates of every row in the same order.

    Attributes:
        seed: the key, which the order is drawn by.
        known: whether an attacker has the key.
    """

    seed: int
    known: bool = False

    @property
    def secret(self) -> Secret:
        """The order, unless the key is known."""
        return Secret.NOTHING if self.known else Secret.PERMUTATION

    @property
    def _order(self) -> np.ndarray:
        return np.random.default_rng(self.seed).permutation(self.width)

    def apply(
        self,
        rows: Float[Tensor, "positions width"],
        draw: np.random.Generator,  # noqa: ARG002 - the seed is the key
    ) -> Float[Tensor, "positions width"]:
        """The coordinates in the secret order."""
        return rows[:, self._order.tolist()]

    def undo(
        self,
        released: Float[Tensor, "positions width"],
        draw: np.random.Generator,  # noqa: ARG002 - the seed is the key
    ) -> Float[Tensor, "positions width"]:
        """The coordinates in their own order."""
        return released[:, np.argsort(self._order).tolist()]

    def image(self, candidates: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """The candidates in the order where the key is known, else the candidates as they are."""
        if not self.known:
            return candidates.clone()
        return candidates[:, self._order.tolist()]


@release_step("permute_coordinates")
def bind_permute_coordinates(step: StepSpec, rows: RowScale) -> Release:
    """Makes the permutation."""
    known = step.value("key", str) == "known"
    return PermuteCoordinatesRelease(rows.width, step.value("seed", int), known=known)
