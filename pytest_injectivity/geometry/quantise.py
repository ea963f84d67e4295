"""Post-hoc quantisation of activations ([VS] figure 4; SPEC section 2): rounding, not propagated."""

from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

from pytest_injectivity.errors import OptionError

BITS = range(2, 33)
"""A symmetric grid needs two bits; beyond 32 it is finer than float32 itself."""


@dataclass(frozen=True)
class QuantisedRows:
    """A layer's rows on a uniform grid, one scale for the layer.

    Attributes:
        codes: integer codes; exact collisions are counted on them.
        rows: the values the codes stand for, float64.
        step: distance between neighbouring codes, in the states' units.
    """

    codes: Int64[Tensor, "n hidden"]
    rows: Float[Tensor, "n hidden"]
    step: float


def quantise(rows: Float[Tensor, "n hidden"], bits: int) -> QuantisedRows:
    """Symmetric uniform quantisation: ``step = max|H| / (2^(b-1) - 1)``, ``clip(round(x / step))``.

    Args:
        rows: finite states of one layer; the scale comes from this very set.
        bits: at least 2; the codes are ``-(2^(b-1) - 1)`` to ``2^(b-1) - 1``.

    Raises:
        OptionError: fewer than 2 or more than 32 bits, or a layer that is zero everywhere.
    """
    if isinstance(bits, bool) or bits not in BITS:
        raise OptionError(
            f"bits={bits!r}: give a whole number of bits from {BITS[0]} to {BITS[-1]}"
        )
    levels = 2 ** (bits - 1) - 1
    step = float(rows.abs().max()) / levels if len(rows) else 0.0
    if step == 0.0:
        raise OptionError(f"a layer that is zero everywhere has no scale for {bits} bits")
    codes = (rows.double() / step).round().clamp(-levels, levels)
    return QuantisedRows(codes.long(), codes * step, step)
