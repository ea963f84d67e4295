"""The numbers of small types against references that decode bit by bit."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.quantization.decoding.codes import e2m1, e8m0, nibbles, words
from pytest_injectivity.quantization.decoding.matrices import floats_of_4_bits
from tests.layouts import in_words

BYTES = torch.arange(256, dtype=torch.uint8)


def _small_float(code: int, exponent_bits: int, mantissa_bits: int) -> float:
    """A small float by the definition of its bits; of E4M3 the last code is NaN."""
    sign = -1.0 if code >> exponent_bits + mantissa_bits else 1.0
    exponent = code >> mantissa_bits & 2**exponent_bits - 1
    mantissa = code & 2**mantissa_bits - 1
    if (exponent_bits, exponent, mantissa) == (4, 15, 7):
        return math.nan
    bias = 2 ** (exponent_bits - 1) - 1
    if exponent == 0:
        return sign * math.ldexp(mantissa, 1 - bias - mantissa_bits)
    return sign * math.ldexp(2**mantissa_bits + mantissa, exponent - bias - mantissa_bits)


def _equal(found: Tensor, wanted: list[float]) -> bool:
    """Equal to the last bit, signs of zeros included; NaN is NaN."""
    expected = torch.tensor(wanted, dtype=torch.float64).float()
    both = found.isnan() & expected.isnan()
    same = found.view(torch.int32) == expected.view(torch.int32)
    return found.shape == expected.shape and bool((both | same).all())


def test_each_of_the_sixteen_codes() -> None:
    """The low half of a byte comes first."""
    wanted = [_small_float(half, 2, 1) for byte in range(256) for half in (byte & 15, byte >> 4)]
    assert _equal(e2m1(BYTES), wanted)
    assert [0, 1, 15, 15] == nibbles(torch.tensor([16, 255], dtype=torch.uint8)).tolist()


def test_each_power_of_two() -> None:
    """The smallest is subnormal in float32, and the last byte is no number."""
    assert _equal(e8m0(BYTES), [*(math.ldexp(1, byte - 127) for byte in range(255)), math.nan])


@pytest.mark.parametrize("whole", [1.0, 2688.0, 0.3333333432674408])
def test_nvfp4_for_every_code_under_every_scale(whole: float) -> None:
    """16 codes times 256 scales, under a global scale that divides or multiplies."""
    codes = torch.tensor(
        [[low | (low + 1) % 16 << 4 for low in range(0, 16, 2)]], dtype=torch.uint8
    )
    packed, scales = codes.repeat(256, 1), BYTES.view(torch.float8_e4m3fn)[:, None]
    second = torch.tensor(whole)
    numbers = [_small_float(code, 2, 1) for code in range(16)]

    def wanted(real: list[float]) -> list[float]:
        return [_rounded(number * scale) for scale in real for number in numbers]

    eights = [_small_float(byte, 4, 3) for byte in range(256)]
    divided = [_rounded(one / whole) for one in eights]
    multiplied = [_rounded(one * whole) for one in eights]
    assert _equal(floats_of_4_bits(packed, scales, over=second).flatten(), wanted(divided))
    assert _equal(floats_of_4_bits(packed, scales, times=second).flatten(), wanted(multiplied))


def test_mxfp4_for_every_code_under_every_scale() -> None:
    """16 codes times 256 powers of two; what exceeds float32 is infinite, as in float32 itself."""
    codes = torch.tensor(
        [[low | (low + 1) % 16 << 4 for low in range(0, 16, 2)]], dtype=torch.uint8
    )
    found = floats_of_4_bits(codes.repeat(256, 1), BYTES[:, None]).flatten()
    powers = [*(math.ldexp(1, byte - 127) for byte in range(255)), math.nan]
    numbers = [_small_float(code, 2, 1) for code in range(16)]
    assert _equal(found, [_rounded(number * power) for power in powers for number in numbers])


def _rounded(number: float) -> float:
    """A number of float64 in float32."""
    return float(torch.tensor(number, dtype=torch.float64).float())


@given(
    st.integers(1, 8).flatmap(
        lambda bits: st.tuples(
            st.just(bits),
            st.integers(1, 70).flatmap(
                lambda count: st.lists(
                    st.lists(st.integers(0, 2**bits - 1), min_size=count, max_size=count),
                    min_size=1,
                    max_size=3,
                )
            ),
        )
    )
)
def test_codes_of_any_bits_come_back_from_words(case: tuple[int, list[list[int]]]) -> None:
    """Whatever straddles two words."""
    bits, rows = case
    codes = torch.tensor(rows)
    assert words(in_words(codes, bits), bits, codes.shape[1]).long().equal(codes)


@pytest.mark.parametrize(
    "packed", [torch.zeros(2, 1, dtype=torch.int32), torch.zeros(2, 2, dtype=torch.int64)]
)
def test_too_few_words_are_refused(packed: Tensor) -> None:
    """Codes that are not there are not zeros."""
    with pytest.raises(ValueError, match="hold no 9 codes of 4 bits"):
        words(packed, 4, 9)
