"""One quantized layer as it stands in a loaded model: its bits, and the matrix it multiplies by."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from pytest_injectivity.core.shapes import Float

MATRIX_DIMENSIONS = 2

Dense = Callable[[], Float[Tensor, "outputs inputs"]]


@dataclass(frozen=True)
class Packed:
    """A layer ``y = W x + b`` whose matrix is held in few bits.

    Attributes:
        kind: how it is quantized, in words.
        bits: of a weight.
        outputs, inputs: the shape of ``W``.
        dense: gives ``W`` in float64.
        rounds_activations: ``x`` is rounded too, as the layer runs.
        neighbors: how ``x`` is rounded depends on its other rows.
    """

    kind: str
    bits: int
    outputs: int
    inputs: int
    dense: Dense
    rounds_activations: bool = False
    neighbors: bool = False

    @property
    def numbers(self) -> int:
        """How many numbers the matrix has."""
        return self.outputs * self.inputs


def bits_of(codes: Tensor) -> int:
    """The bits that the integers of a tensor need, as signed numbers."""
    low, high = (int(bound) for bound in codes.aminmax())
    return 1 + max(math.ceil(math.log2(-low)) if low < 0 else 0, high.bit_length())
