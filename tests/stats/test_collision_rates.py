"""Bounds of collision rates: known values and the equations that define them."""

import pytest

from pytest_injectivity import stats


@pytest.mark.parametrize(
    ("n", "expected"), [(2, 0.95), (3, 0.95), (1000, 5.9733e-3), (1001, 5.9733e-3)]
)
def test_near_collision_bound_known_values(n: int, expected: float) -> None:
    """Of floor(N/2) disjoint pairs none was near: 5.97e-3 at N = 1000, not 6e-6."""
    assert expected == pytest.approx(stats.near_collision_rate_bound(n), rel=1e-4)


@pytest.mark.parametrize("n", [2, 3, 10, 1000, 100_000])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_near_collision_bound_is_where_the_sample_would_surprise(n: int, confidence: float) -> None:
    """At that rate, as few as none among the disjoint pairs has probability 1 - confidence."""
    bound = stats.near_collision_rate_bound(n, confidence)
    assert 1 - confidence == pytest.approx((1 - bound) ** (n // 2), rel=1e-6)


@pytest.mark.parametrize(("n", "expected"), [(1000, 2.25e-5), (100_000, 2.25e-9)])
def test_exact_collision_bound_known_values(n: int, expected: float) -> None:
    """SPEC section 2."""
    assert expected == pytest.approx(stats.exact_collision_rate_bound(n), rel=5e-3)


@pytest.mark.parametrize("n", [2, 3, 10, 1000, 100_000])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_exact_collision_bound_solves_its_equation(n: int, confidence: float) -> None:
    """``(1-a)^N + N a (1-a)^(N-1) = 1 - confidence`` with the bound ``a^2``."""
    a = stats.exact_collision_rate_bound(n, confidence) ** 0.5
    assert 1 - confidence == pytest.approx((1 - a) ** n + n * a * (1 - a) ** (n - 1), rel=1e-6)


@pytest.mark.parametrize("n", [0, 1])
def test_without_a_pair_no_rate_is_bounded(n: int) -> None:
    """Nothing was compared: the only bound is 1."""
    assert stats.near_collision_rate_bound(n) == 1.0
    assert stats.exact_collision_rate_bound(n) == 1.0
