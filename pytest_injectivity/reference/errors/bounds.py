"""The errors that rounding to a number of bits explains: default bounds of weight and block errors.

The numbers are about one and a half times the largest that sound children showed, over models, formats
and prompts named in docs/quantization-gate.md (`./dev bench healthy` prints them). Those of a loud group
are of a model with outliers as well, whose weights were rounded in groups of 32 inputs up to whole rows;
of 2 bits sound groups reach a gain of 2.4, so that it refuses none.
A row in up to 4 bits is the exception: where groups go over rows, one whose weights are all small may
round to nothing, an error of 1.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Bounds:
    """What is accepted of weights of some number of bits.

    Attributes:
        bits: at least as many bits as the weights have.
        tensor: of ``||W' - W|| / ||W||``, over a tensor.
        row: likewise, over a row.
        heavy_row: likewise, relative to the root mean square of the rows' norms where that is larger.
        loud_group: of the gain, less 1, of a group of 32 inputs of at least usual size.
        gain: of ``|<W', W> / ||W||^2 - 1|``, over a tensor.
        block: of the block error.
        rounded_block: of the block error of a model that rounds activations as it runs.
    """

    bits: float
    tensor: float
    row: float
    heavy_row: float
    loud_group: float
    gain: float
    block: float
    rounded_block: float


TABLE = (
    Bounds(2, 0.66, 1.0, 0.85, math.inf, 0.055, 1.6, 1.6),
    Bounds(3, 0.28, 1.0, 0.36, 0.49, 0.02, 0.7, 0.7),
    Bounds(4, 0.21, 1.0, 0.35, 0.37, 0.025, 0.56, 0.56),
    Bounds(6, 0.1, 0.3, 0.2, 0.15, 0.015, 0.25, 0.3),  # not measured: between the rows beside it
    Bounds(8, 0.042, 0.1, 0.1, 0.053, 0.0085, 0.11, 0.15),
    Bounds(16, 0.005, 0.01, 0.01, 0.01, 0.002, 0.032, 0.15),
)
"""A row a number of bits, fewest first; weights get the first row that has as many bits as they."""

TURNED = 0.5
"""Of the negative gain of a group of at least usual size, in any number of bits: rounding may leave
nothing of it, a gain of 0, and turns none over."""


def bounds_of(bits: float) -> Bounds:
    """The bounds of weights of this many bits.

    Example:
        >>> bounds_of(4.5).bits, bounds_of(8).bits, bounds_of(32).bits
        (6, 8, 16)
    """
    return next((one for one in TABLE if bits <= one.bits), TABLE[-1])
