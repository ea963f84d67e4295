"""Quantiles of dependent rows: known values, and coverage by simulation."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from jaxtyping import Float64, Int64
from scipy import stats as scipy_stats

from pytest_injectivity import stats
from pytest_injectivity.core.interval import Interval
from pytest_injectivity.errors import OptionError
from tests import brute_force

numbers = st.lists(st.floats(0, 1e6), min_size=1, max_size=60).map(np.array)
fractions = st.floats(0, 1)
inner = st.floats(0.001, 0.999)
confidences = st.sampled_from([0.8, 0.9, 0.95, 0.99])


@given(values=numbers, q=fractions)
def test_the_lower_quantile_is_one_of_the_values(
    values: Float64[np.ndarray, " n"], q: float
) -> None:
    """The one at rank ``floor(q (n - 1))``, as numpy's ``lower`` has it; never interpolated."""
    assert brute_force.lower_quantile(values, q) == stats.lower_quantile(values, q)


@given(values=numbers, share=st.integers(0, 20))
def test_the_upper_quantile_mirrors_the_lower_one(
    values: Float64[np.ndarray, " n"], share: int
) -> None:
    """As far from the top as the other is from the bottom."""
    # Where q (n - 1) is a whole number, the two ways to write it round apart.
    assume(share * (len(values) - 1) % 20 or share in (0, 20))
    assert brute_force.upper_quantile(values, share / 20) == stats.upper_quantile(
        values, share / 20
    )


def test_quantiles_at_their_ends_are_the_extremes() -> None:
    """At q = 0: the minimum from below and the maximum from above."""
    values = np.array([3.0, 1.0, 2.0])
    assert (1.0, 3.0) == (stats.lower_quantile(values, 0.0), stats.lower_quantile(values, 1.0))
    assert (3.0, 1.0) == (stats.upper_quantile(values, 0.0), stats.upper_quantile(values, 1.0))


def test_a_nan_among_the_values_is_the_quantile() -> None:
    """So that a gate on it fails."""
    assert math.isnan(stats.lower_quantile(np.array([1.0, math.nan, 2.0]), 0.0))
    assert math.isnan(stats.upper_quantile(np.array([1.0, math.nan, 2.0]), 0.0))


@given(values=numbers, q=fractions, confidence=confidences)
def test_an_interval_is_made_of_the_sample(
    values: Float64[np.ndarray, " n"], q: float, confidence: float
) -> None:
    """Its ends are values of the sample or trivial, in order, and it says its confidence."""
    found = stats.quantile_interval(values, q, confidence)
    assert found.low in {0.0, *values.tolist()}
    assert found.high in {math.inf, *values.tolist()}
    assert found.low <= found.high
    assert confidence == found.confidence


@given(values=numbers, q=inner)
def test_more_confidence_widens_an_interval(values: Float64[np.ndarray, " n"], q: float) -> None:
    """Never the other way round."""
    narrow, wide = (stats.quantile_interval(values, q, level) for level in (0.9, 0.99))
    assert wide.low <= narrow.low
    assert narrow.high <= wide.high


def test_of_the_minimum_only_the_upper_limit_is_known() -> None:
    """No sample bounds a population's minimum from below (but by 0: distances)."""
    assert Interval(0.0, 1.5, 0.95) == stats.quantile_interval(np.array([2.0, 1.5]), 0.0, 0.95)


def test_ranks_are_those_of_half_the_rows() -> None:
    """1,000 values: binomial ranks 1 and 11 of 500 effective rows at q = 0.01, two rows each."""
    values = np.arange(1.0, 1001.0)
    assert (1, 10) == tuple(scipy_stats.binom.ppf([0.025, 0.975], 500, 0.01))
    assert Interval(1.0, 22.0, 0.95) == stats.quantile_interval(values, 0.01, 0.95)
    assert Interval(455.0, 546.0, 0.95) == stats.quantile_interval(values, 0.5, 0.95)


def test_mutual_pairs_are_half_the_rows() -> None:
    """Each row the other's nearest: N/2 effective rows, as where the partners are not known."""
    values = np.repeat(np.arange(1.0, 501.0), 2)
    mutual = np.arange(1000).reshape(-1, 2)[:, ::-1].flatten()
    found = [stats.effective_rows(values, q, mutual) for q in (0.01, 0.1, 0.5)]
    unknown = [stats.effective_rows(values, q, None) for q in (0.01, 0.1, 0.5)]
    assert [500] * 3 == found == unknown


def test_rows_that_are_the_nearest_of_many_leave_fewer() -> None:
    """By hand: of 100 rows the ten lowest all have row 0 as their nearest (its own is row 1).

    Of a tenth under the quantile 0.948 have no other row as near; rows 0 and 1 are a mutual pair.
    """
    values, partner = np.arange(100.0), np.arange(100)[::-1].copy()
    partner[:10] = [1, *[0] * 9]
    alone = -0.9 * math.log(0.9) / 0.1
    influence = np.array([1 + 9 * alone, 1 + alone, *[1.0] * 8, *[0.0] * 90])
    pair_once = (1 + alone) ** 2 * 0.9
    excess = (100 * influence.var() - pair_once) / (100 * 0.1 * 0.9)
    q = 0.095  # the tenth value
    assert int(100 / excess) == stats.effective_rows(values, q, partner)
    assert int(100 / excess) < 12


def test_every_mutual_pair_under_the_quantile_is_counted_once() -> None:
    """By hand: of the twenty lowest, ten share row 0 as their nearest and ten are mutual pairs."""
    values, partner = np.arange(100.0), np.arange(100)[::-1].copy()
    partner[:10] = [1, *[0] * 9]
    partner[10:20] = [11, 10, 13, 12, 15, 14, 17, 16, 19, 18]
    alone = -0.8 * math.log(0.8) / 0.2
    influence = np.array([1 + 9 * alone, 1 + alone, *[1.0] * 8, *[1 + alone] * 10, *[0.0] * 80])
    pairs_once = 6 * (1 + alone) ** 2 * 0.8
    excess = (100 * influence.var() - pairs_once) / (100 * 0.2 * 0.8)
    q = 0.195  # the twentieth value
    assert int(100 / excess) == stats.effective_rows(values, q, partner)


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_there_is_always_one_effective_row(n: int) -> None:
    """However small the sample is."""
    partner = (np.arange(n) + 1) % max(n, 1)
    assert 1 == stats.effective_rows(np.ones(n), 0.5, partner)


@dataclass(frozen=True)
class Simulated:
    """Each row's nearest-neighbor distance, and the row that attains it, in many sets."""

    distance: Float64[np.ndarray, "simulations n"]
    index: Int64[np.ndarray, "simulations n"]

    @property
    def each(self) -> Iterator[tuple[Float64[np.ndarray, " n"], Int64[np.ndarray, " n"]]]:
        """Set by set."""
        return zip(self.distance, self.index, strict=True)


def neighbor_distances(simulations: int, n: int, d: int, seed: int) -> Simulated:
    """Sets of N Gaussian points."""
    generator = torch.Generator().manual_seed(seed)
    distance, index = [], []
    together = max(1, 20 * 200 * 200 // (n * n))
    for _ in range(simulations // together):
        points = torch.randn(together, n, d, generator=generator)
        squares = points.square().sum(dim=2)
        apart = torch.baddbmm(squares[:, None, :], points, points.transpose(1, 2), alpha=-2)
        apart.diagonal(dim1=1, dim2=2).fill_(torch.inf)
        nearest = apart.min(dim=2)
        distance.append((nearest.values + squares).clamp(min=0).sqrt())
        index.append(nearest.indices)
    return Simulated(torch.cat(distance).double().numpy(), torch.cat(index).numpy())


def plain_interval(values: Float64[np.ndarray, " n"], q: float) -> tuple[float, float]:
    """The textbook's interval at 95 %, as if the rows were independent."""
    ordered = np.sort(values)
    low, high = (int(rank) for rank in scipy_stats.binom.ppf([0.025, 0.975], len(ordered), q))
    return ordered[low - 1] if low else 0.0, ordered[high] if high < len(ordered) else math.inf


@pytest.mark.parametrize(
    ("n", "d", "q"),
    [
        (200, 2, 0.1),
        (200, 8, 0.5),
        pytest.param(400, 8, 0.05, marks=pytest.mark.slow),
        pytest.param(200, 64, 0.1, marks=pytest.mark.slow),
        pytest.param(200, 256, 0.1, marks=pytest.mark.slow),
        pytest.param(200, 1024, 0.1, marks=pytest.mark.slow),
    ],
)
def test_intervals_cover_where_plain_ranks_do_not(n: int, d: int, q: float) -> None:
    """1,000 simulations: at least 93 % where 95 % is promised; plain ranks: 75 to 92 %."""
    samples = neighbor_distances(1000, n, d, seed=n + d)
    truth = float(np.quantile(samples.distance, q))
    found = [stats.quantile_interval(values, q, 0.95, partner) for values, partner in samples.each]
    covered = np.mean([interval.low <= truth <= interval.high for interval in found])
    plain = [plain_interval(values, q) for values in samples.distance]
    plainly = np.mean([low <= truth <= high for low, high in plain])
    assert 0.93 <= covered
    assert 0.75 < plainly < 0.93


@pytest.mark.slow
@pytest.mark.parametrize("d", [2, 64, 256, 1024])
@pytest.mark.parametrize("n", [200, 1000])
@pytest.mark.parametrize("q", [0.01, 0.1, 0.5])
def test_intervals_cover_at_every_width(q: float, n: int, d: int) -> None:
    """At least 93 % of 1,000 sets."""
    samples = neighbor_distances(1000, n, d, seed=1)
    truth = float(np.quantile(samples.distance, q))
    found = [stats.quantile_interval(values, q, 0.95, partner) for values, partner in samples.each]
    assert 0.93 <= np.mean([one.low <= truth <= one.high for one in found])


@pytest.mark.slow
@pytest.mark.parametrize("d", [2, 64, 256, 1024])
@pytest.mark.parametrize(("n", "q"), [(200, 0.1), (200, 0.5), (1000, 0.1), (1000, 0.5)])
def test_intervals_are_under_four_times_as_wide_as_of_independent_rows(
    n: int, q: float, d: int
) -> None:
    """Where the sample is large enough for a lower limit above 0."""
    samples = neighbor_distances(1000, n, d, seed=1)
    found = [stats.quantile_interval(values, q, 0.95, partner) for values, partner in samples.each]
    plain = [plain_interval(values, q) for values in samples.distance]
    wide = np.median([one.high - one.low for one in found])
    assert wide < 4 * np.median([high - low for low, high in plain])


@pytest.mark.parametrize(
    ("n", "d", "q"),
    [
        (200, 2, 0.1),
        (200, 8, 0.5),
        (400, 8, 0.05),
        pytest.param(200, 256, 0.1, marks=pytest.mark.slow),
    ],
)
def test_p_values_keep_their_level(n: int, d: int, q: float) -> None:
    """Where the bound IS the quantile, each side is called proved at 5 % in at most 5 % of sets."""
    samples = neighbor_distances(1000, n, d, seed=n + d)
    truth = float(np.quantile(samples.distance, q))
    p_values = np.array(
        [stats.quantile_p_values(values, q, truth, partner) for values, partner in samples.each]
    )
    assert (np.mean(p_values <= 0.05, axis=0) <= 0.05).all()


@given(values=numbers, q=inner, bounds=st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)))
def test_p_values_are_monotone_in_the_bound(
    values: Float64[np.ndarray, " n"], q: float, bounds: tuple[float, float]
) -> None:
    """A higher bound is harder to prove met and easier to prove missed."""
    low, high = (stats.quantile_p_values(values, q, bound) for bound in sorted(bounds))
    assert low[0] <= high[0]
    assert low[1] >= high[1]
    assert all(0 <= p <= 1 for p in (*low, *high))


@given(values=numbers, q=inner, bound=st.floats(0, 1e6), confidence=confidences, data=st.data())
def test_p_values_and_the_interval_agree(
    values: Float64[np.ndarray, " n"],
    q: float,
    bound: float,
    confidence: float,
    data: st.DataObject,
) -> None:
    """A bound outside the interval is decided: no verdict contradicts the interval beside it."""
    row = st.integers(0, len(values) - 1)
    partner = data.draw(
        st.none() | st.lists(row, min_size=len(values), max_size=len(values)).map(np.array)
    )
    interval = stats.quantile_interval(values, q, confidence, partner)
    above, below = stats.quantile_p_values(values, q, bound, partner)
    tail = (1 - confidence) / 2 * (1 + 1e-9)
    assert not 0.0 < bound <= interval.low or above <= tail
    assert not bound > interval.high or below <= tail


@pytest.mark.parametrize(("under", "above", "below"), [(2, 1, 1), (3, 2, 1), (4, 2, 2)])
def test_half_rows_count_against_either_side(under: int, above: int, below: int) -> None:
    """Of ten values 2, 3 and 4 are 1, 1.5 and 2 of five effective rows, rounded to prove less."""
    values = np.array([0.0] * under + [9.0] * (10 - under))
    expected = scipy_stats.binom.cdf(above, 5, 0.5), scipy_stats.binom.sf(below - 1, 5, 0.5)
    assert expected == pytest.approx(stats.quantile_p_values(values, 0.5, 1.0))


def test_clear_samples_are_decided_and_small_ones_are_not() -> None:
    """All far above, all below, and two rows only."""
    assert stats.quantile_p_values(np.full(1000, 5.0), 0.01, 1.0)[0] < 0.01
    assert stats.quantile_p_values(np.full(1000, 0.5), 0.01, 1.0)[1] < 1e-100
    assert min(stats.quantile_p_values(np.array([5.0, 5.0]), 0.01, 1.0)) > 0.5


def test_a_nan_counts_as_under_the_bound() -> None:
    """NaN fails here too."""
    values = np.array([math.nan] * 50 + [5.0] * 50)
    assert stats.quantile_p_values(values, 0.1, 1.0)[1] < 1e-6


def test_the_minimum_cannot_be_proved() -> None:
    """The message says what to give instead."""
    with pytest.raises(OptionError, match=r"no sample bounds a population's minimum.*q above 0"):
        stats.quantile_p_values(np.ones(5), 0.0, 0.5)
