"""Tests of rank correlations."""

import math
from collections.abc import Iterable

import numpy as np
import pytest
from scipy import stats

from pytest_injectivity.errors import OptionError
from pytest_injectivity.stats import rank_correlation


def _numbers(values: Iterable[float]) -> np.ndarray:
    return np.array([*values], np.float64)


def test_it_is_spearmans() -> None:
    """With ties too, equal to scipy's."""
    random = np.random.default_rng(0)
    one, other = random.integers(8, size=(2, 50)).astype(np.float64)
    expected = stats.spearmanr(one, other).statistic
    assert expected == pytest.approx(rank_correlation(one, other).value, abs=1e-12)


@pytest.mark.parametrize(("sign", "expected"), [(1, 1.0), (-1, -1.0)])
def test_one_order_and_its_reverse(sign: int, expected: float) -> None:
    """Quantities in one order correlate fully in every draw."""
    found = rank_correlation(_numbers(range(10)), _numbers(sign * value**3 for value in range(10)))
    assert (expected, expected, expected) == pytest.approx(
        (found.value, found.interval.low, found.interval.high)
    )
    assert found.shows


def test_a_constant_has_no_correlation() -> None:
    """Nothing is said where one of the two is the same everywhere."""
    found = rank_correlation(_numbers([1, 2, 3]), _numbers([5, 5, 5]))
    assert math.isnan(found.value)
    assert (-1.0, 1.0) == (found.interval.low, found.interval.high)
    assert not found.shows


def test_one_odd_point_has_no_interval() -> None:
    """A third of the draws leave it out, and would be the ones that show nothing."""
    random = np.random.default_rng(0)
    odd = np.zeros(20)
    odd[3] = 1.0
    found = rank_correlation(random.standard_normal(20), odd)
    assert (-1.0, 1.0) == (found.interval.low, found.interval.high)
    assert not found.shows


def test_infinite_numbers_have_ranks() -> None:
    """A position that is never confused has no finite margin, and a place in the order."""
    assert 1.0 == pytest.approx(
        rank_correlation(_numbers([1, 2, math.inf]), _numbers([1, 2, 3])).value
    )


@pytest.mark.slow
def test_the_interval_covers_the_truth() -> None:
    """Of 200 samples of a known correlation, about 95 % of the intervals hold it."""
    random = np.random.default_rng(1)
    pearson = 0.5
    truth = 6 / math.pi * math.asin(pearson / 2)
    held = 0
    for seed in range(200):
        one = random.standard_normal(60)
        other = pearson * one + math.sqrt(1 - pearson**2) * random.standard_normal(60)
        interval = rank_correlation(one, other, draws=300, seed=seed).interval
        held += interval.low <= truth <= interval.high
    assert 0.89 <= held / 200 <= 0.99


def test_clusters_widen_the_interval() -> None:
    """Ten copies of a point say no more than the point."""
    random = np.random.default_rng(2)
    one, other = random.standard_normal((2, 20))
    copies = [np.repeat(values, 10) for values in (one, other)]
    plain, copied, clustered = (
        rank_correlation(one, other),
        rank_correlation(*copies),
        rank_correlation(*copies, np.repeat(np.arange(20), 10)),
    )
    widths = [found.interval.high - found.interval.low for found in (plain, copied, clustered)]
    assert widths[1] < widths[0] / 2
    assert widths[0] == pytest.approx(widths[2], rel=0.2)
    assert (200, 20) == (clustered.points, clustered.clusters)


def test_two_clusters_say_nothing() -> None:
    """Two models are no sample of models."""
    found = rank_correlation(_numbers(range(6)), _numbers(range(6)), np.repeat([0, 1], 3))
    assert (-1.0, 1.0) == (found.interval.low, found.interval.high)


@pytest.mark.parametrize(
    ("one", "other", "clusters", "message"),
    [
        ([1, 2], [1, 2], None, "3 or more"),
        ([1, 2, 3], [1, 2], None, "as many of each"),
        ([1, 2, 3], [1, 2, 3], np.arange(2), "as many of each"),
        ([1, 2, math.nan], [1, 2, 3], None, "leave out points"),
    ],
)
def test_what_is_no_sample_is_refused(
    one: list[float], other: list[float], clusters: np.ndarray | None, message: str
) -> None:
    """Each kind of wrong argument is named."""
    with pytest.raises(OptionError, match=message):
        rank_correlation(_numbers(one), _numbers(other), clusters)
