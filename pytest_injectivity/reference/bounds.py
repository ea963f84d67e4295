"""The errors that rounding to a number of bits explains: default bounds of weight and block errors.

The numbers are about one and a half times the largest that sound children showed, over models, formats
and prompts named in docs/quantization-gate.md (`./dev bench healthy` prints them).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bounds:
    """What is accepted of weights of some number of bits.

    Attributes:
        bits: at least as many bits as the weights have.
        tensor: of ``||W' - W|| / ||W||``, over a tensor.
        row: likewise, over a row.
        gain: of ``|<W', W> / ||W||^2 - 1|``, over a tensor.
        block: of the block error.
        rounded_block: of the block error of a model that rounds activations as it runs.
    """

    bits: float
    tensor: float
    row: float
    gain: float
    block: float
    rounded_block: float


TABLE = (
    Bounds(2, 0.9, 1.4, 0.4, 1.5, 1.5),
    Bounds(3, 0.45, 0.7, 0.2, 0.9, 0.9),
    Bounds(4, 0.22, 0.4, 0.06, 0.5, 0.5),
    Bounds(6, 0.1, 0.2, 0.03, 0.25, 0.3),
    Bounds(8, 0.05, 0.1, 0.01, 0.08, 0.2),
    Bounds(16, 0.01, 0.02, 0.003, 0.03, 0.2),
)
"""A row a number of bits, fewest first; weights get the first row that has as many bits as they."""


def bounds_of(bits: float) -> Bounds:
    """The bounds of weights of this many bits.

    Example:
        >>> bounds_of(4.5).bits, bounds_of(8).bits, bounds_of(32).bits
        (6, 8, 16)
    """
    return next((one for one in TABLE if bits <= one.bits), TABLE[-1])
