import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.geometry.drift import drift_between


def _rows(seed: int, n: int = 50, hidden: int = 12) -> torch.Tensor:
    return torch.randn(n, hidden, generator=torch.Generator().manual_seed(seed))


def test_drift_and_cosine_equal_numpys() -> None:
    """Row by row, in float64."""
    one, other = _rows(0), _rows(1)
    found = drift_between(one, other)
    left, right = one.double().numpy(), other.double().numpy()
    norms = np.linalg.norm(right, axis=1)
    np.testing.assert_allclose(found.relative, np.linalg.norm(left - right, axis=1) / norms, 1e-13)
    expected = (left * right).sum(axis=1) / (np.linalg.norm(left, axis=1) * norms)
    np.testing.assert_allclose(found.cosine, expected, 1e-12)


def test_many_blocks_are_one() -> None:
    """A block of one row changes nothing."""
    one, other = _rows(2), _rows(3)
    whole = drift_between(one, other)
    parts = drift_between(one, other, block_elements=1)
    np.testing.assert_array_equal(whole.relative, parts.relative)
    np.testing.assert_array_equal(whole.cosine, parts.cosine)


@given(st.floats(0.01, 100), st.integers(0, 5))
def test_scaled_states_drift_by_the_scale(scale: float, seed: int) -> None:
    """And their angle is zero."""
    rows = _rows(seed).double()
    found = drift_between(scale * rows, rows)
    np.testing.assert_allclose(found.relative, abs(scale - 1), atol=1e-12)
    np.testing.assert_allclose(found.cosine, 1.0, atol=1e-12)


def test_two_dtypes_are_held_against_each_other() -> None:
    """Rounding to bfloat16 is a drift of at most its unit round-off."""
    rows = _rows(4)
    found = drift_between(rows.bfloat16(), rows)
    assert 0 < found.relative.max() <= 2.0**-8
    assert found.cosine.min() > 0.9999


def test_what_is_zero_and_what_is_not_finite() -> None:
    """Equal zeros have not drifted; away from zero there is no share; a NaN stays one."""
    one = torch.tensor([[0.0, 0.0], [1.0, 0.0], [math.nan, 0.0], [0.0, 0.0]])
    other = torch.tensor([[0.0, -0.0], [0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    found = drift_between(one, other)
    np.testing.assert_array_equal(found.relative, [0.0, math.inf, math.nan, 1.0])
    np.testing.assert_array_equal(found.cosine, [1.0, math.nan, math.nan, math.nan])
