"""What a finite sample says: known values, other libraries' values, and coverage by simulation."""

import math
from collections.abc import Callable, Iterator
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


def test_mutual_pairs_are_half_the_rows() -> None:
    """Each row the other's nearest: N/2 effective rows, as where the partners are not known."""
    values = np.repeat(np.arange(1.0, 501.0), 2)
    mutual = np.arange(1000).reshape(-1, 2)[:, ::-1].flatten()
    for q in (0.01, 0.1, 0.5):
        assert 500 == stats.effective_rows(values, q, mutual)
        assert 500 == stats.effective_rows(values, q, None)


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


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_there_is_always_one_effective_row(n: int) -> None:
    """However small the sample is."""
    partner = (np.arange(n) + 1) % max(n, 1)
    assert 1 == stats.effective_rows(np.ones(n), 0.5, partner)


@dataclass(frozen=True)
class Simulated:
    """Each row's nearest-neighbour distance, and the row that attains it, in many sets."""

    distance: Float64[np.ndarray, "simulations n"]
    index: Int64[np.ndarray, "simulations n"]

    @property
    def each(self) -> Iterator[tuple[Float64[np.ndarray, " n"], Int64[np.ndarray, " n"]]]:
        """Set by set."""
        return zip(self.distance, self.index, strict=True)


def neighbour_distances(simulations: int, n: int, d: int, seed: int) -> Simulated:
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
        (400, 8, 0.05),
        (200, 64, 0.1),
        (200, 256, 0.1),
        (200, 1024, 0.1),
    ],
)
def test_intervals_cover_where_plain_ranks_do_not(n: int, d: int, q: float) -> None:
    """1,000 simulations: at least 93 % where 95 % is promised; plain ranks: 75 to 92 %."""
    samples = neighbour_distances(1000, n, d, seed=n + d)
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
def test_intervals_cover_at_every_width(n: int, d: int) -> None:
    """At each quantile at least 93 %, and under four times as wide as of independent rows."""
    samples = neighbour_distances(1000, n, d, seed=1)
    for q in (0.01, 0.1, 0.5):
        truth = float(np.quantile(samples.distance, q))
        found = [
            stats.quantile_interval(values, q, 0.95, partner) for values, partner in samples.each
        ]
        assert 0.93 <= np.mean([one.low <= truth <= one.high for one in found]), q
        if q * n < 20:
            continue  # the lower limit may be the trivial one
        plain = [plain_interval(values, q) for values in samples.distance]
        wide = np.median([one.high - one.low for one in found])
        assert wide < 4 * np.median([high - low for low, high in plain]), q


@pytest.mark.parametrize(
    ("n", "d", "q"), [(200, 2, 0.1), (200, 8, 0.5), (400, 8, 0.05), (200, 256, 0.1)]
)
def test_p_values_keep_their_level(n: int, d: int, q: float) -> None:
    """Where the bound IS the quantile, each side is called proved at 5 % in at most 5 % of sets."""
    samples = neighbour_distances(1000, n, d, seed=n + d)
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


def ratio_interval(
    left: Callable[[Int64[np.ndarray, " rows"]], float],
    right: Callable[[Int64[np.ndarray, " rows"]], float],
    n: int,
    confidence: float,
    **settings: int,
) -> Interval:
    """The interval of the ratio of two models' numbers."""
    return stats.paired_ratio(left, right, n, **settings).interval(confidence)


@pytest.mark.parametrize("confidence", [0.0, 1.0, -0.5, 95.0, math.nan])
def test_a_confidence_outside_0_to_1_is_refused(confidence: float) -> None:
    """Everywhere one is given; 95 is not 0.95."""
    for ask in (
        lambda: stats.quantile_interval(np.ones(5), 0.5, confidence),
        lambda: stats.clopper_pearson(1, 2, confidence),
        lambda: stats.near_collision_rate_bound(10, confidence),
        lambda: stats.exact_collision_rate_bound(10, confidence),
        lambda: stats.clustered_rate(np.ones(2, np.int64), np.ones(2, np.int64), confidence),
        lambda: ratio_interval(lambda _: 1.0, lambda _: 1.0, 8, confidence),
    ):
        with pytest.raises(OptionError, match=f"confidence={confidence!r}: give a number between"):
            ask()


def breaking_prompts(
    prompts: int, tokens: int, seed: int, *, error: float = 0.02, after: float = 0.3
) -> Int64[np.ndarray, " prompts"]:
    """Tokens right of each prompt, where one wrong token leaves few of the later ones right."""
    generator = np.random.default_rng(seed)
    wrong = generator.random((prompts, tokens)) < error
    broken = np.cumsum(wrong, axis=1) - wrong > 0
    right = np.where(broken, generator.random((prompts, tokens)) < after, ~wrong)
    return right.sum(axis=1)


@pytest.mark.parametrize("prompts", [20, 100])
def test_token_rates_cover_where_independent_tokens_do_not(prompts: int) -> None:
    """1,000 simulations at 95 %: at least 93 %; as if tokens were independent: under 60 %."""
    trials = np.full(prompts, 20)
    truth = float(breaking_prompts(100_000, 20, seed=0).mean()) / 20
    covered, plainly = [], []
    for seed in range(1000):
        right = breaking_prompts(prompts, 20, seed=1 + seed)
        found = stats.clustered_rate(right, trials, 0.95)
        covered.append(found.low <= truth <= found.high)
        plain = stats.clopper_pearson(int(right.sum()), 20 * prompts, 0.95)
        plainly.append(plain.low <= truth <= plain.high)
    assert 0.93 <= np.mean(covered)
    assert np.mean(plainly) < 0.6


@pytest.mark.parametrize("right", [0, 20])
def test_without_variance_a_prompt_is_one_trial(right: int) -> None:
    """400 tokens of 20 prompts, all right, prove what 20 of 20 prompts do."""
    found = stats.clustered_rate(np.full(20, right), np.full(20, 20), 0.95)
    expected = stats.clopper_pearson(right, 20, 0.95)
    assert (expected.low, expected.high) == pytest.approx((found.low, found.high))


def test_one_prompt_is_one_trial() -> None:
    """Nothing is known of the others."""
    found = stats.clustered_rate(np.array([10]), np.array([20]), 0.95)
    assert found.low < 0.03
    assert found.high > 0.97


@given(
    clusters=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30),
    confidence=confidences,
)
def test_a_clustered_rate_lies_in_its_interval(
    clusters: list[tuple[int, int]], confidence: float
) -> None:
    """Which is never narrower than that of independent trials, and does not see the order."""
    successes, trials = (np.array(one) for one in zip(*clusters, strict=True))
    trials = trials + successes
    assume(trials.sum() > 0)
    found = stats.clustered_rate(successes, trials, confidence)
    assert 0.0 <= found.low <= successes.sum() / trials.sum() <= found.high <= 1.0
    plain = stats.clopper_pearson(int(successes.sum()), int(trials.sum()), confidence)
    assert found.low <= plain.low + 1e-9
    assert plain.high <= found.high + 1e-9
    backwards = stats.clustered_rate(successes[::-1], trials[::-1], confidence)
    assert (found.low, found.high) == pytest.approx((backwards.low, backwards.high))


@pytest.mark.parametrize(("successes", "trials"), [([], []), ([0], [0]), ([3], [2]), ([-1], [2])])
def test_clusters_that_are_no_rate_are_refused(successes: list[int], trials: list[int]) -> None:
    """The message counts them."""
    with pytest.raises(OptionError, match=f"in {len(trials)} clusters: no rate"):
        stats.clustered_rate(np.array(successes, np.int64), np.array(trials, np.int64), 0.95)


Number = Callable[[Int64[np.ndarray, " rows"]], float]


def margin_of(points: Float64[np.ndarray, "n d"], q: float) -> Number:
    """The q-quantile of nearest-neighbour distances among some of the points."""

    def margin(rows: Int64[np.ndarray, " rows"]) -> float:
        chosen = points[rows]
        squares = np.square(chosen).sum(axis=1)
        apart = squares[:, None] + squares - 2 * chosen @ chosen.T
        np.fill_diagonal(apart, np.inf)
        return stats.lower_quantile(np.sqrt(apart.min(axis=1).clip(min=0)), q)

    return margin


def pair_of_models(n: int, d: int, seed: int) -> tuple[Number, Number]:
    """The margins of a model, and of the same model with noise and in other units."""
    generator = np.random.default_rng(seed)
    points = generator.standard_normal((n, d))
    other = 3.0 * (points + 0.5 * generator.standard_normal((n, d)))
    return margin_of(points, 0.1), margin_of(other, 0.1)


def check_ratio_coverage(simulations: int, n: int, d: int) -> None:
    """At least 93 % of intervals at 95 % hold the median ratio of other simulations."""
    rows = np.arange(n)
    others = (pair_of_models(n, d, seed) for seed in range(10_000, 12_000))
    ratios = [left(rows) / right(rows) for left, right in others]
    truth = float(np.median(ratios))
    found = [
        ratio_interval(*pair_of_models(n, d, seed), n, 0.95, draws=40, seed=seed)
        for seed in range(simulations)
    ]
    assert 0.93 <= np.mean([one.low <= truth <= one.high for one in found])
    # Of independent simulations 95 % lie within 3.92 standard deviations of the logarithm.
    ideal = 3.92 * float(np.std(np.log(ratios)))
    assert np.median([math.log(one.high / one.low) for one in found]) < 1.5 * ideal


def test_ratios_between_two_models_cover() -> None:
    """Gaussian rows, 60 prompts, 150 simulations."""
    check_ratio_coverage(150, 60, 8)


@pytest.mark.slow
@pytest.mark.parametrize("d", [2, 64])
def test_ratios_between_two_models_cover_at_length(d: int) -> None:
    """Gaussian rows, 200 prompts, 1,000 simulations."""
    check_ratio_coverage(1000, 200, d)


def test_a_half_is_the_same_for_both_models_and_without_copies() -> None:
    """So that what both models share cancels: a model beside itself is at exactly 1."""
    seen: list[tuple[int, ...]] = []

    def number(rows: Int64[np.ndarray, " rows"]) -> float:
        seen.append(tuple(rows.tolist()))
        return 1.0 + float(rows.sum())

    found = ratio_interval(number, number, 9, 0.95, draws=5, seed=3)
    assert Interval(1.0, 1.0, 0.95) == found
    assert seen[0::2] == seen[1::2]
    assert tuple(range(9)) == seen[0]
    assert 5 == len(seen[2::2])
    for half in seen[2::2]:
        assert 4 == len(half) == len(set(half))
        assert list(half) == sorted(half)


def test_a_ratio_is_the_same_for_the_same_seed() -> None:
    """And another for another."""
    models = pair_of_models(40, 4, seed=0)
    one, again, other = (
        ratio_interval(*models, 40, 0.9, draws=10, seed=seed) for seed in (1, 1, 2)
    )
    assert one == again != other


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_ratio_without_a_logarithm_is_unknown(value: float) -> None:
    """Of collisions, of rows that are not finite: on either side, in any half."""
    for left, right in ((value, 1.0), (1.0, value)):
        found = ratio_interval(lambda _, v=left: v, lambda _, v=right: v, 8, 0.95)
        assert Interval(0.0, math.inf, 0.95) == found
    only_in_halves = ratio_interval(
        lambda rows: 1.0 if len(rows) == 8 else value, lambda _: 1.0, 8, 0.95
    )
    assert Interval(0.0, math.inf, 0.95) == only_in_halves


@pytest.mark.parametrize(("n", "draws"), [(3, 10), (0, 10), (10, 1)])
def test_too_few_prompts_for_halves_are_refused(n: int, draws: int) -> None:
    """Half of four is the least that has a pair."""
    with pytest.raises(OptionError, match=f"n={n}, draws={draws}: give at least 4 prompts"):
        ratio_interval(lambda _: 1.0, lambda _: 1.0, n, 0.95, draws=draws)


def test_a_ratios_value_is_that_of_all_prompts() -> None:
    """Its interval holds it, wider where more is asked for; a copy of a model is exactly 1."""
    left, right = pair_of_models(40, 4, seed=0)
    found = stats.paired_ratio(left, right, 40, draws=10, seed=1)
    rows = np.arange(40)
    assert left(rows) / right(rows) == found.value
    narrow, wide = found.interval(0.5), found.interval(0.99)
    assert wide.low < narrow.low < found.value < narrow.high < wide.high
    assert narrow == ratio_interval(left, right, 40, 0.5, draws=10, seed=1)
    assert stats.PairedRatio(1.0, 0.0, 5) == stats.paired_ratio(left, left, 40, draws=5)


@given(st.floats(0.05, 20), st.floats(0.01, 2), st.floats(0.1, 0.99), st.floats(1.01, 9))
def test_ratio_p_values_agree_with_the_interval(
    value: float, spread: float, low: float, high: float
) -> None:
    """Proved inside where the one-sided limits lie inside; proved outside only beyond a limit."""
    ratio = stats.PairedRatio(value, spread, 30)
    inside, outside = ratio.p_values(low, high)
    limits = ratio.interval(0.9)  # 95 % on each side
    assert (inside < 0.05) == (low < limits.low and limits.high < high)
    if outside < 0.05:
        assert limits.high < low or high < limits.low
    assert 0 <= inside <= 1
    assert 0 <= outside <= 1


@pytest.mark.parametrize("value", [0.0, math.inf, math.nan])
def test_a_ratio_that_is_no_positive_number_is_outside(value: float) -> None:
    """Whatever was asked; where only some half has none, nothing is decided."""
    assert (1.0, 0.0) == stats.PairedRatio(value, math.inf, 10).p_values(0.5, 2.0)
    assert (1.0, 1.0) == stats.PairedRatio(1.0, math.inf, 10).p_values(0.5, 2.0)


def test_a_ratio_without_an_upper_limit() -> None:
    """Infinity is never surpassed."""
    inside, outside = stats.PairedRatio(50.0, 0.1, 10).p_values(0.5, math.inf)
    assert inside < 1e-6
    assert outside > 0.999
    assert (1.0, 0.0) == tuple(
        round(p, 9) for p in stats.PairedRatio(0.1, 0.01, 10).p_values(0.5, math.inf)
    )


def check_two_sided_levels(simulations: int, n: int) -> None:
    """On an edge of what is accepted, at most 5 % are proved inside, and 5 % outside."""
    pairs = [pair_of_models(n, 8, seed) for seed in range(1000, 1400)]
    rows = np.arange(n)
    truth = float(np.median([left(rows) / right(rows) for left, right in pairs]))
    found = [stats.paired_ratio(*models, n, draws=40) for models in pairs[:simulations]]
    for limits in (
        (truth, 4 * truth),
        (truth / 4, truth),
        (truth / 1.1, truth),
        (truth, truth * 1.1),
    ):
        decided = np.array([one.p_values(*limits) for one in found]) < 0.05
        assert (decided.mean(axis=0) <= 0.09).all(), limits


def test_two_sided_decisions_about_ratios_keep_their_level() -> None:
    """60 prompts, 120 simulations: two standard deviations of chance are allowed."""
    check_two_sided_levels(120, 60)


@pytest.mark.slow
def test_two_sided_decisions_about_ratios_keep_their_level_at_length() -> None:
    """200 prompts, 400 simulations."""
    check_two_sided_levels(400, 200)
