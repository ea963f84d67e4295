"""The numbers that stored codes stand for, before any scale (SPEC section 7).

Everything is exact: each number of these small types is a number of float32.
"""

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float32, Int, UInt8

E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""The magnitudes of the four-bit floats E2M1, by their low three bits (OCP MX, section 5.3.3)."""

_WORD = 32
# Codes that straddle no byte; torch's machines have the lowest byte of a word first.
_HALF, _IN_BYTES = 4, (4, 8)


def e2m1(packed: UInt8[Tensor, "*rows bytes"]) -> Float32[Tensor, "*rows values"]:
    """The four-bit floats of bytes that hold two each, the first in the low half.

    Args:
        packed: the bytes.
    """
    table = torch.tensor([*E2M1, *(-one for one in E2M1)])
    return table[nibbles(packed).int()]


def nibbles(packed: UInt8[Tensor, "*rows bytes"]) -> UInt8[Tensor, "*rows values"]:
    """The two halves of each byte, the low one first."""
    return torch.stack([packed & 15, packed >> 4], -1).flatten(-2)


def e8m0(exponents: UInt8[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
    """Powers of two, ``2^-127`` to ``2^127``, by their biased exponents; 255 is NaN (OCP MX, 5.4.1).

    Args:
        exponents: a byte each.
    """
    return exponents.view(torch.float8_e8m0fnu).float()


def words(packed: Int[Tensor, "rows words"], bits: int, count: int) -> Int[Tensor, "rows count"]:
    """The codes of rows of 32-bit words: code ``i`` is bits ``i * bits`` to ``(i + 1) * bits - 1``.

    Bits are counted from the lowest of the first word, and a code may straddle two words.

    Args:
        packed: rows of 32-bit words.
        bits: of a code, 1 to 8.
        count: the codes of a row.

    Raises:
        ValueError: a row holds fewer.
    """
    if packed.dtype != torch.int32 or packed.shape[1] * _WORD < bits * count:
        raise ValueError(
            f"{packed.shape[1]} words of {packed.dtype} hold no {count} codes of {bits} bits"
        )
    if bits in _IN_BYTES:
        in_bytes = packed.contiguous().view(torch.uint8)
        return (nibbles(in_bytes) if bits == _HALF else in_bytes)[:, :count].short()
    first = torch.arange(count) * bits
    low = packed.long() & (2**_WORD - 1)
    # One word more, for a last code that ends with its word.
    low = torch.nn.functional.pad(low, (0, 1))
    at = first // _WORD
    whole = low[:, at] | (low[:, at + 1] << _WORD)
    codes: Tensor = (whole >> (first % _WORD)) & (2**bits - 1)
    return codes
