"""Rates of independent and of clustered trials: tables, scipy's values, and coverage."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jaxtyping import Int64
from scipy import stats as scipy_stats

from pytest_injectivity import stats
from pytest_injectivity.errors import OptionError

confidences = st.sampled_from([0.8, 0.9, 0.95, 0.99])


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


def by_beta_quantiles(successes: int, trials: int, confidence: float) -> tuple[float, float]:
    """Clopper and Pearson's interval by its closed form."""
    tail, beta = (1 - confidence) / 2, scipy_stats.beta
    low = beta.ppf(tail, successes, trials - successes + 1) if successes else 0.0
    high = beta.ppf(1 - tail, successes + 1, trials - successes) if successes < trials else 1.0
    return float(low), float(high)


@given(trials=st.integers(1, 300), data=st.data(), confidence=confidences)
def test_clopper_pearson_is_made_of_beta_quantiles(
    trials: int, data: st.DataObject, confidence: float
) -> None:
    """The interval that inverts the binomial test is the closed form, to 1e-9."""
    successes = data.draw(st.integers(0, trials))
    found = stats.clopper_pearson(successes, trials, confidence)
    expected = by_beta_quantiles(successes, trials, confidence)
    assert expected == pytest.approx((found.low, found.high), abs=1e-9)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 5), (1, -1)])
def test_counts_that_are_no_rate_are_refused(successes: int, trials: int) -> None:
    """The message gives both."""
    with pytest.raises(OptionError, match=f"{successes} successes of {trials} trials"):
        stats.clopper_pearson(successes, trials, 0.95)


@pytest.mark.parametrize("successes", range(21))
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.83, 0.95])
def test_rate_p_values_are_tails_of_the_binomial(successes: int, rate: float) -> None:
    """As many successes or more where a higher rate is proved, as many or fewer where a lower is."""
    shares = [math.comb(20, k) * rate**k * (1 - rate) ** (20 - k) for k in range(21)]
    expected = sum(shares[successes:]), sum(shares[: successes + 1])
    assert expected == pytest.approx(stats.rate_p_values(successes, 20, rate), rel=1e-9)


def test_twenty_of_twenty_prove_083_and_not_095() -> None:
    """SPEC section 2, at 95 %."""
    assert stats.rate_p_values(20, 20, 0.83)[0] < 0.025
    assert stats.rate_p_values(20, 20, 0.95)[0] > 0.05


@pytest.mark.parametrize("rate", [1.0, 1.5])
def test_a_rate_of_one_cannot_be_proved(rate: float) -> None:
    """The message says what 20 of 20 prove."""
    with pytest.raises(OptionError, match=r"no number of successes proves.*20 of 20 proves 0.83"):
        stats.rate_p_values(20, 20, rate)


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
        low, high = by_beta_quantiles(int(right.sum()), 20 * prompts, 0.95)
        plainly.append(low <= truth <= high)
    assert 0.93 <= np.mean(covered)
    assert np.mean(plainly) < 0.6


@pytest.mark.parametrize("right", [0, 20])
def test_without_variance_a_prompt_is_one_trial(right: int) -> None:
    """400 tokens of 20 prompts, all right, prove what 20 of 20 prompts do."""
    found = stats.clustered_rate(np.full(20, right), np.full(20, 20), 0.95)
    expected = stats.clopper_pearson(right, 20, 0.95)
    assert (expected.low, expected.high) == pytest.approx((found.low, found.high))


def test_equal_rates_show_no_variance_whatever_their_rounding() -> None:
    """1 of 49 in each of two prompts is 2 of 98, and 49 times 2/98 is not 1 in float64."""
    assert (2 / 98) * 49 != 1.0
    found = stats.clustered_rate(np.array([1, 1]), np.array([49, 49]), 0.95)
    low, high = by_beta_quantiles(2 / 49, 2, 0.95)
    assert (low, high) == pytest.approx((found.low, found.high))


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
