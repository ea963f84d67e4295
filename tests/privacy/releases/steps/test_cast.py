import torch
from torch import Tensor

from pytest_injectivity.privacy.releases.steps.cast import CastRelease

_WIDTH = 16


def test_a_cast_to_8_bits_overflows_nowhere() -> None:
    """An attention sink of 3,000 in each coordinate stays finite and within its digits."""
    rows = torch.full((1, _WIDTH), 3000.0) * torch.linspace(-1, 1, _WIDTH)
    found = CastRelease(_WIDTH, torch.float8_e4m3fn).image(rows)
    assert found.isfinite().all()
    # Three bits of mantissa, and subnormals below 2^-6 of the format's own scale.
    assert (found - rows).abs().max() <= 3000 * 2.0**-4


def test_a_cast_is_the_librarys(rows: Tensor) -> None:
    """There and back."""
    assert torch.equal(rows.bfloat16().float(), CastRelease(_WIDTH, torch.bfloat16).image(rows))


def test_a_row_of_zeros_stays_zero() -> None:
    """It has no scale of 8 bits, and needs none."""
    zeros = torch.zeros(2, _WIDTH)
    assert torch.equal(zeros, CastRelease(_WIDTH, torch.float8_e4m3fn).image(zeros))
