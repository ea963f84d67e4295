import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.privacy.releases.rotation import random_rotation


@given(st.integers(2, 12), st.integers(0, 50))
def test_a_rotation_is_orthogonal(width: int, seed: int) -> None:
    """Norms and inner products stay: that is what matching attackers use."""
    matrix = random_rotation(width, seed)
    assert np.allclose(np.eye(width), matrix @ matrix.T, atol=1e-12)
    assert not np.allclose(matrix, random_rotation(width, seed + 1))


def test_rotations_are_uniform() -> None:
    """The first coordinate of the first row: mean 0, variance 1/d, over many seeds."""
    firsts = np.array([float(random_rotation(3, seed)[0, 0]) for seed in range(2000)])
    assert abs(firsts.mean()) < 4 * math.sqrt(1 / 3 / 2000)
    assert abs(firsts.var() - 1 / 3) < 0.03
