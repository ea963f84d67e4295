"""Quantiles and tails of distributions, against ``scipy.stats``."""

import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from pytest_injectivity.stats import distributions

SHARES = (1e-6, 0.005, 0.025, 0.3, 0.95, 0.995)
RATES = (0.0, 0.001, 0.05, 0.5, 0.9, 1.0)


@pytest.mark.parametrize("share", SHARES)
def test_quantiles_of_beta_and_student_are_scipys(share: float) -> None:
    """For small and large parameters, whole and not."""
    sizes = list(product((0.5, 1, 2, 10, 5000), (1, 2.5, 100, 5000)))
    found = [distributions.beta_quantile(share, a, b) for a, b in sizes]
    assert found == pytest.approx([stats.beta.ppf(share, a, b) for a, b in sizes], rel=1e-12)
    freedoms = (1, 2, 19, 400)
    found = [distributions.student_quantile(share, freedom) for freedom in freedoms]
    assert found == pytest.approx([stats.t.ppf(share, one) for one in freedoms], rel=1e-12)


@pytest.mark.parametrize("value", [-np.inf, -3.0, 0.0, 0.5, 40.0, np.inf])
def test_students_tail_is_scipys(value: float) -> None:
    """At both infinities too."""
    found = [distributions.student_below(value, freedom) for freedom in (1, 5, 99)]
    assert found == pytest.approx([stats.t.cdf(value, one) for one in (1, 5, 99)], rel=1e-12)


@pytest.mark.parametrize("trials", [1, 7, 300, 5000])
@pytest.mark.parametrize("rate", RATES)
def test_binomial_tails_are_scipys(trials: int, rate: float) -> None:
    """Beside every number of successes there is, and beyond it."""
    for successes in (-1, 0, 1, trials // 2, trials - 1, trials):
        below = distributions.binomial_at_most(successes, trials, rate)
        above = distributions.binomial_more_than(successes, trials, rate)
        assert below == pytest.approx(stats.binom.cdf(successes, trials, rate), rel=1e-9, abs=1e-14)
        assert above == pytest.approx(stats.binom.sf(successes, trials, rate), rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("trials", [1, 7, 300, 5000])
@pytest.mark.parametrize("rate", RATES[1:-1])
def test_binomial_quantiles_are_scipys(trials: int, rate: float) -> None:
    """The first number of successes whose probability of at most so many is enough."""
    found = [distributions.binomial_quantile(share, trials, rate) for share in SHARES]
    assert found == [int(stats.binom.ppf(share, trials, rate)) for share in SHARES]


def test_the_package_does_without_scipy_stats() -> None:
    """It takes a third of a second to import, which every run would pay."""
    package = Path(sys.modules["pytest_injectivity"].__file__ or "").parent
    sources = {path: path.read_text("utf-8") for path in package.rglob("*.py")}
    assert len(sources) > 100
    assert [] == [path.name for path, source in sources.items() if "import stats as" in source]
