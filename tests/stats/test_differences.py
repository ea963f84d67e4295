import numpy as np
import pytest

from pytest_injectivity.errors import OptionError
from pytest_injectivity.stats import Trials, clustered_difference, clustered_rate


def _even(successes: int, clusters: int = 20) -> Trials:
    return Trials(np.full(clusters, successes), np.full(clusters, 20))


def _drawn(rng: np.random.Generator, shares: np.ndarray, trials: int) -> Trials:
    return Trials(rng.binomial(trials, shares), np.full(len(shares), trials))


@pytest.mark.parametrize("shared", [True, False])
def test_the_interval_covers_the_difference(shared: bool) -> None:  # noqa: FBT001
    """In at least 93 % of samples, whether prompts are hard for both or not."""
    rng, covered = np.random.default_rng(1), 0
    for _ in range(300):
        read = rng.beta(2.0, 6.0, 25)
        guessed = read if shared else rng.beta(2.0, 6.0, 25)
        found = clustered_difference(_drawn(rng, read, 20), _drawn(rng, guessed, 19), 0.95)
        covered += found.low <= 0.0 <= found.high
    assert covered >= 0.93 * 300


def test_prompts_that_are_alike_for_both_make_it_narrower() -> None:
    """The difference is taken prompt by prompt."""
    read = Trials(np.arange(20), np.full(20, 20))
    alike = clustered_difference(read, Trials(np.arange(20), np.full(20, 20)), 0.95)
    opposed = clustered_difference(read, Trials(np.arange(20)[::-1].copy(), read.trials), 0.95)
    assert alike.high - alike.low < 0.2 * (opposed.high - opposed.low)


def test_nothing_read_of_few_prompts_leaves_what_few_prompts_cannot_exclude() -> None:
    """Where no prompt differs from another, a variance would know everything."""
    nothing = _even(0)
    found = clustered_difference(nothing, nothing, 0.95)
    rate = clustered_rate(*nothing, 0.95)
    assert (-rate.high, rate.high) == (found.low, found.high)


def test_all_against_nothing_is_at_most_everything() -> None:
    """A difference of rates is at most 1."""
    found = clustered_difference(_even(20), _even(0), 0.95)
    assert 0.7 < found.low < found.high == 1.0


def test_rates_of_other_prompts_have_no_difference() -> None:
    """The clusters are those of both."""
    with pytest.raises(OptionError, match="a difference of 20 and 19 clusters"):
        clustered_difference(_even(1), _even(1, clusters=19), 0.95)
