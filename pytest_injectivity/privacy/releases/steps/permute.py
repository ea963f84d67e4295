"""``permute``: shuffles the positions of each prompt; the receiver restores the order from the draw."""

import numpy as np
from torch import Tensor

from pytest_injectivity.config.release_spec import StepSpec
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.privacy.releases.base import BaseRelease
from pytest_injectivity.privacy.releases.protocol import Release
from pytest_injectivity.privacy.releases.registry import RowScale, release_step


class PermuteRelease(BaseRelease):
    """Sends the rows of a prompt in a random order."""

    @property
    def ordered(self) -> bool:
        """Positions do not keep their order."""
        return False

    def apply(
        self, rows: Float[Tensor, "positions width"], draw: np.random.Generator
    ) -> Float[Tensor, "positions width"]:
        """The rows in an order drawn for the prompt."""
        return rows[draw.permutation(len(rows)).tolist()]

    def undo(
        self, released: Float[Tensor, "positions width"], draw: np.random.Generator
    ) -> Float[Tensor, "positions width"]:
        """The rows in the order of their positions."""
        return released[np.argsort(draw.permutation(len(released))).tolist()]


@release_step("permute", whole_rows=True)
def bind_permute(step: StepSpec, rows: RowScale) -> Release:  # noqa: ARG001 - has no parameter
    """Makes the shuffle; keys and values of a position stay together."""
    return PermuteRelease(rows.width)
