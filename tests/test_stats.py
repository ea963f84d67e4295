"""What a finite sample says: known values, other libraries' values, and coverage by simulation."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from jaxtyping import Float64
from scipy import stats as scipy_stats

from pytest_injectivity import stats
from pytest_injectivity.errors import OptionError
from pytest_injectivity.verdict import Interval
from tests import reference

numbers = st.lists(st.floats(0, 1e6), min_size=1, max_size=60).map(np.array)
fractions = st.floats(0, 1)
inner = st.floats(0.001, 0.999)
confidences = st.sampled_from([0.8, 0.9, 0.95, 0.99])


@given(values=numbers, q=fractions)
def test_the_lower_quantile_is_one_of_the_values(
    values: Float64[np.ndarray, " n"], q: float
) -> None:
    """The one at rank ``floor(q (n - 1))``, as numpy's ``lower`` has it; never interpolated."""
    assert reference.lower_quantile(values, q) == stats.lower_quantile(values, q)


@given(values=numbers, share=st.integers(0, 20))
def test_the_upper_quantile_mirrors_the_lower_one(
    values: Float64[np.ndarray, " n"], share: int
) -> None:
    """As far from the top as the other is from the bottom."""
    # Where q (n - 1) is a whole number, the two ways to write it round apart.
    assume(share * (len(values) - 1) % 20 or share in (0, 20))
    assert reference.upper_quantile(values, share / 20) == stats.upper_quantile(values, share / 20)


def test_quantiles_at_their_ends_are_the_extremes() -> None:
    """At q = 0: the minimum from below and the maximum from above."""
    values = np.array([3.0, 1.0, 2.0])
    assert (1.0, 3.0) == (stats.lower_quantile(values, 0), stats.lower_quantile(values, 1))
    assert (3.0, 1.0) == (stats.upper_quantile(values, 0), stats.upper_quantile(values, 1))


def test_a_nan_among_the_values_is_the_quantile() -> None:
    """So that a gate on it fails."""
    assert math.isnan(stats.lower_quantile(np.array([1.0, math.nan, 2.0]), 0.0))
    assert math.isnan(stats.upper_quantile(np.array([1.0, math.nan, 2.0]), 0.0))


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (20, 20, 0.8315665, 1.0),
        (0, 20, 0.0, 0.1684335),
        (1, 10, 0.0025286, 0.4450161),
        (5, 10, 0.1870860, 0.8129140),
        (19, 20, 0.7512672, 0.9987349),
    ],
)
def test_clopper_pearson_known_values(successes: int, trials: int, low: float, high: float) -> None:
    """From published tables; 20 of 20 proves 0.83, and nothing proves 1."""
    found = stats.clopper_pearson(successes, trials, 0.95)
    assert (low, high) == pytest.approx((found.low, found.high), abs=1e-6)
    assert found.confidence == 0.95


@given(trials=st.integers(1, 300), data=st.data(), confidence=confidences)
def test_clopper_pearson_equals_scipys(trials: int, data: st.DataObject, confidence: float) -> None:
    """Which inverts the binomial test."""
    successes = data.draw(st.integers(0, trials))
    expected = scipy_stats.binomtest(successes, trials).proportion_ci(confidence, method="exact")
    found = stats.clopper_pearson(successes, trials, confidence)
    assert (expected.low, expected.high) == pytest.approx((found.low, found.high), abs=1e-9)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 5), (1, -1)])
def test_counts_that_are_no_rate_are_refused(successes: int, trials: int) -> None:
    """The message gives both."""
    with pytest.raises(OptionError, match=f"{successes} successes of {trials} trials"):
        stats.clopper_pearson(successes, trials, 0.95)


@pytest.mark.parametrize("successes", range(21))
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.83, 0.95])
def test_rate_p_values_are_the_binomial_tests(successes: int, rate: float) -> None:
    """One-sided, each way."""
    above, below = stats.rate_p_values(successes, 20, rate)
    assert above == pytest.approx(
        scipy_stats.binomtest(successes, 20, rate, alternative="greater").pvalue
    )
    assert below == pytest.approx(
        scipy_stats.binomtest(successes, 20, rate, alternative="less").pvalue
    )


def test_twenty_of_twenty_prove_083_and_not_095() -> None:
    """SPEC section 2, at 95 %."""
    assert stats.rate_p_values(20, 20, 0.83)[0] < 0.025
    assert stats.rate_p_values(20, 20, 0.95)[0] > 0.05


@pytest.mark.parametrize("rate", [1.0, 1.5])
def test_a_rate_of_one_cannot_be_proved(rate: float) -> None:
    """The message says what 20 of 20 prove."""
    with pytest.raises(OptionError, match=r"no number of successes proves.*20 of 20 proves 0.83"):
        stats.rate_p_values(20, 20, rate)


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


@pytest.mark.parametrize(
    ("p_values", "rejected"),
    [
        ((), ()),
        ((0.05,), (True,)),
        ((0.051,), (False,)),
        ((0.01, 0.04, 0.03, 0.005), (True, False, False, True)),
        ((0.02, 0.025), (True, True)),
        ((0.03, 0.001), (True, True)),
        ((0.03, 0.03), (False, False)),
        ((0.001, 0.9, 0.04), (True, False, False)),
    ],
)
def test_holm_known_decisions(p_values: tuple[float, ...], rejected: tuple[bool, ...]) -> None:
    """At 5 %; the third line is the textbook's."""
    assert rejected == stats.holm(p_values, 0.05)


@given(p_values=st.lists(fractions, max_size=12), alpha=inner)
def test_holm_by_its_definition(p_values: list[float], alpha: float) -> None:
    """Sorted, each one and all before it lie under alpha over the number left."""
    expected = [
        all(
            smaller <= alpha / (len(p_values) - rank)
            for rank, smaller in enumerate(sorted(p_values)[: sorted(p_values).index(p) + 1])
        )
        for p in p_values
    ]
    # Equal p-values share their fate only where the last of them would: ranks break the tie.
    assume(len(set(p_values)) == len(p_values))
    assert tuple(expected) == stats.holm(p_values, alpha)


@given(p_values=st.lists(fractions, min_size=1, max_size=12), alpha=inner)
def test_holm_lies_between_bonferroni_and_no_correction(
    p_values: list[float], alpha: float
) -> None:
    """It rejects what Bonferroni does, and nothing that a single test would keep."""
    for p, rejected in zip(p_values, stats.holm(p_values, alpha), strict=True):
        assert rejected or not p <= alpha / len(p_values)
        assert not rejected or p <= alpha


def test_holm_never_rejects_a_nan() -> None:
    """What could not be computed proves nothing."""
    for p_values in ((math.nan, 1e-9), (1e-9, math.nan), (math.nan,)):
        decisions = zip(p_values, stats.holm(p_values, 0.05), strict=True)
        assert not any(rejected for p, rejected in decisions if math.isnan(p))


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


def neighbour_distances(
    simulations: int, n: int, d: int, seed: int
) -> Float64[np.ndarray, "simulations n"]:
    """Each row's nearest-neighbour distance, sorted, in many sets of N Gaussian points."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(simulations // 20):
        points = torch.randn(20, n, d, generator=generator)
        squares = points.square().sum(dim=2)
        apart = torch.baddbmm(squares[:, None, :], points, points.transpose(1, 2), alpha=-2)
        apart.diagonal(dim1=1, dim2=2).fill_(torch.inf)
        found.append((apart.amin(dim=2) + squares).clamp(min=0).sqrt())
    return np.sort(torch.cat(found).double().numpy(), axis=1)


def plain_interval(ordered: Float64[np.ndarray, " n"], q: float) -> tuple[float, float]:
    """The textbook's interval at 95 %, as if the rows were independent."""
    low, high = (int(rank) for rank in scipy_stats.binom.ppf([0.025, 0.975], len(ordered), q))
    return ordered[low - 1] if low else 0.0, ordered[high] if high < len(ordered) else math.inf


@pytest.mark.parametrize(
    ("n", "d", "q"), [(200, 2, 0.1), (200, 8, 0.5), (400, 8, 0.05), (200, 64, 0.1)]
)
def test_intervals_cover_where_plain_ranks_do_not(n: int, d: int, q: float) -> None:
    """1,000 simulations: at least 93 % where 95 % is promised; plain ranks: 80 to 92 %."""
    samples = neighbour_distances(1000, n, d, seed=n + d)
    truth = float(np.quantile(samples, q))
    found = [stats.quantile_interval(sample, q, 0.95) for sample in samples]
    covered = np.mean([interval.low <= truth <= interval.high for interval in found])
    plain = [plain_interval(sample, q) for sample in samples]
    plainly = np.mean([low <= truth <= high for low, high in plain])
    assert 0.93 <= covered
    assert 0.78 < plainly < 0.93


@pytest.mark.parametrize(("n", "d", "q"), [(200, 2, 0.1), (200, 8, 0.5), (400, 8, 0.05)])
def test_p_values_keep_their_level(n: int, d: int, q: float) -> None:
    """Where the bound IS the quantile, each side is called proved at 5 % in at most 5 % of sets."""
    samples = neighbour_distances(1000, n, d, seed=n + d)
    truth = float(np.quantile(samples, q))
    p_values = np.array([stats.quantile_p_values(sample, q, truth) for sample in samples])
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


@given(values=numbers, q=inner, bound=st.floats(0, 1e6), confidence=confidences)
def test_p_values_and_the_interval_agree(
    values: Float64[np.ndarray, " n"], q: float, bound: float, confidence: float
) -> None:
    """A bound outside the interval is decided: no verdict contradicts the interval beside it."""
    interval = stats.quantile_interval(values, q, confidence)
    above, below = stats.quantile_p_values(values, q, bound)
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


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan])
def test_a_fraction_outside_0_to_1_is_refused(q: float) -> None:
    """Everywhere a quantile is asked for."""
    values = np.ones(5)
    for ask in (
        lambda: stats.lower_quantile(values, q),
        lambda: stats.upper_quantile(values, q),
        lambda: stats.quantile_interval(values, q, 0.95),
        lambda: stats.quantile_p_values(values, q, 0.5),
    ):
        with pytest.raises(OptionError, match=f"q={q!r} is not a fraction"):
            ask()


@pytest.mark.parametrize("confidence", [0.0, 1.0, -0.5, 95.0, math.nan])
def test_a_confidence_outside_0_to_1_is_refused(confidence: float) -> None:
    """Everywhere one is given; 95 is not 0.95."""
    for ask in (
        lambda: stats.quantile_interval(np.ones(5), 0.5, confidence),
        lambda: stats.clopper_pearson(1, 2, confidence),
        lambda: stats.near_collision_rate_bound(10, confidence),
        lambda: stats.exact_collision_rate_bound(10, confidence),
    ):
        with pytest.raises(OptionError, match=f"confidence={confidence!r}: give a number between"):
            ask()
