"""``round(bits)``: uniform symmetric rounding, with one scale a row that is sent along (SPEC section 2).

The scale is that of the row and not of the layer: a sender can compute it token by token, and an
attacker can compute it of a candidate.
"""

from dataclasses import dataclass

from torch import Tensor

from pytest_injectivity.config.release_spec import StepSpec
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.privacy.releases.base import DeterministicRelease
from pytest_injectivity.privacy.releases.protocol import Release
from pytest_injectivity.privacy.releases.registry import RowScale, release_step
from pytest_injectivity.quantization.arithmetic import scale_of
from pytest_injectivity.quantization.grid import Grid


@dataclass(frozen=True, eq=False)
class RoundRelease(DeterministicRelease):
    """Rounds each row to a grid of its own.

    Attributes:
        bits: bits of a code, the sign included.
    """

    bits: int

    def image(self, candidates: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """The nearest points of each row's grid; a row of zeros stays as it is."""
        scale = scale_of(candidates, Grid(self.bits, per="token"))
        return scale.values(scale.codes(candidates)).to(candidates.dtype)


@release_step("round")
def bind_round(step: StepSpec, rows: RowScale) -> Release:
    """Makes the rounding."""
    return RoundRelease(rows.width, step.value("bits", int))
