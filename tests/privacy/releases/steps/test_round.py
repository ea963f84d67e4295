import numpy as np
import pytest
import torch
from torch import Tensor

from pytest_injectivity.privacy.releases.steps.round import RoundRelease

_WIDTH = 16


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 16])
def test_rounding_is_to_each_rows_own_grid(rows: Tensor, bits: int) -> None:
    """``step = max|x| / (2^(b-1) - 1)``, codes rounded half to even, in float64."""
    expected = []
    for row in rows.double().numpy():
        step = np.abs(row).max() / (2 ** (bits - 1) - 1)
        expected.append(np.round(row / step) * step)
    found = RoundRelease(_WIDTH, bits).image(rows)
    assert np.allclose(np.array(expected), found.double().numpy(), rtol=0, atol=1e-6)


def test_a_row_of_zeros_stays_zero() -> None:
    """It has no scale, and needs none."""
    zeros = torch.zeros(2, _WIDTH)
    assert torch.equal(zeros, RoundRelease(_WIDTH, 4).image(zeros))
