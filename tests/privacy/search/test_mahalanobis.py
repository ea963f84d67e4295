import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.privacy.releases.noise import Noise
from pytest_injectivity.privacy.search.mahalanobis import EUCLIDEAN, MahalanobisMetric

_WIDTH = 5


def _noise(rank: int, seed: int, *, loud: float = 10.0) -> Noise:
    drawn = torch.Generator().manual_seed(seed)
    sigma = torch.rand(_WIDTH, generator=drawn, dtype=torch.float64)
    factor = loud * torch.randn(rank, _WIDTH, generator=drawn, dtype=torch.float64)
    return Noise(sigma, factor)


@given(st.integers(0, 4), st.integers(0, 99), st.sampled_from([0.0, 1e-3, 2.0]))
def test_lengths_are_those_of_the_inverse_covariance(rank: int, seed: int, nu: float) -> None:
    """The product form of Woodbury's identity is the quadratic form of the inverse itself."""
    noise = _noise(rank, seed)
    rows = torch.randn(7, _WIDTH, generator=torch.Generator().manual_seed(seed + 1))
    exact = rows.double()
    expected = (exact @ torch.linalg.inv(noise.covariance(nu)) * exact).sum(dim=1)
    metric = MahalanobisMetric.of(noise, nu)
    found = metric.whitened(rows).square().sum(dim=1) / metric.variance
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_noise_alike_in_all_directions_leaves_distances_as_they_are() -> None:
    """And says how large one coordinate's variance is, ``nu`` included."""
    metric = MahalanobisMetric.of(Noise.isotropic(_WIDTH, 3.0), 4.0)
    rows = torch.eye(_WIDTH)
    assert metric.is_euclidean
    assert math.isclose(25.0, metric.variance)
    assert torch.equal(rows.double(), metric.whitened(rows))
    assert EUCLIDEAN.is_euclidean


@pytest.mark.parametrize("nu", [0.0, 1e-6])
def test_a_silent_direction_counts_more_than_any_loud_one(nu: float, silent: Tensor) -> None:
    """Noise of few directions has no inverse by itself: the others stay finite, and tell the most."""
    factor = torch.zeros(1, _WIDTH, dtype=torch.float64)
    factor[0, 0] = 100.0
    metric = MahalanobisMetric.of(Noise(torch.zeros(_WIDTH, dtype=torch.float64), factor), nu)
    loud = torch.zeros(1, _WIDTH)
    loud[0, 0] = 100.0
    assert float(metric.whitened(loud).norm()) < 1.01
    assert 1.01 < float(metric.whitened(silent).norm()) < math.inf


@pytest.fixture
def silent() -> Tensor:
    row = torch.zeros(1, _WIDTH)
    row[0, 1] = 1e-3
    return row
