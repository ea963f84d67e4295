"""Rates of successes, of independent prompts or of tokens clustered in prompts, with intervals.

Intervals are Clopper and Pearson's, which never cover less than they promise: an audit often sees
all or none of a few prompts recovered, where normal approximations fail (SPEC section 2,
"Intervals").
"""

import numpy as np

from pytest_injectivity.core.interval import Interval
from pytest_injectivity.core.shapes import Int64
from pytest_injectivity.errors import OptionError
from pytest_injectivity.stats.arguments import check_confidence
from pytest_injectivity.stats.distributions import (
    beta_quantile,
    binomial_at_most,
    binomial_more_than,
    student_quantile,
)


def clopper_pearson(successes: int, trials: int, confidence: float) -> Interval:
    """The exact (Clopper-Pearson) interval of a rate of independent trials.

    20 of 20 proves 0.83 at 95 %, and no number of successes proves 1.

    Args:
        successes: 0 to ``trials``.
        trials: at least 1.
        confidence: of the interval, between 0 and 1.

    Raises:
        OptionError: the counts are no rate, or the confidence is not between 0 and 1.

    Example:
        >>> print(clopper_pearson(20, 20, confidence=0.95))
        [0.8316, 1] at 95%
    """
    check_confidence(confidence)
    if not 0 <= successes <= trials or trials == 0:
        raise OptionError(f"{successes} successes of {trials} trials is not a rate")
    return _beta_interval(successes, trials - successes, confidence)


def rate_p_values(successes: int, trials: int, rate: float) -> tuple[float, float]:
    """P-values of the binomial test that the true rate is at least, or below, the one given.

    Args:
        successes: of independent trials.
        trials: at least 1.
        rate: what the true rate is held against, at least 0 and below 1.

    Returns:
        ``(p_above, p_below)``: a small ``p_above`` shows that the rate is at least ``rate``, a small
        ``p_below`` that it is under it.

    Raises:
        OptionError: the rate is 1, which no sample proves.

    Example:
        >>> p_above, p_below = rate_p_values(20, 20, rate=0.83)
        >>> round(p_above, 3), p_below
        (0.024, 1.0)
    """
    if rate >= 1.0:
        raise OptionError(
            "min_rate=1.0 with confidence=: no number of successes proves a rate of exactly 1;"
            " give a lower rate (20 of 20 proves 0.83 at 95 %), or no confidence"
        )
    return (
        binomial_more_than(successes - 1, trials, rate),
        binomial_at_most(successes, trials, rate),
    )


def clustered_rate(
    successes: Int64[np.ndarray, " clusters"],
    trials: Int64[np.ndarray, " clusters"],
    confidence: float,
) -> Interval:
    """The interval of a rate whose trials come in clusters: tokens of prompts.

    One wrong token breaks what follows it, so tokens are no independent trials. The interval is
    Clopper and Pearson's for as many independent trials as would have the variance seen between the
    clusters (Korn and Graubard, "Confidence intervals for proportions with small expected number of
    positive counts estimated from survey data", 1998). Where no variance is seen (every cluster has
    the same rate, as when all is right) a cluster counts as one trial: 20 prompts of 20 tokens each,
    all right, prove 0.83 as 20 of 20 prompts do.

    Args:
        successes: of each cluster.
        trials: of each cluster; at least one in all.
        confidence: of the interval.

    Raises:
        OptionError: a cluster has more successes than trials, or there is no trial.

    Example:
        >>> print(clustered_rate(np.full(20, 20), np.full(20, 20), confidence=0.95))
        [0.8316, 1] at 95%
    """
    check_confidence(confidence)
    total, right = int(trials.sum()), int(successes.sum())
    if not total or not ((successes >= 0) & (successes <= trials)).all():
        raise OptionError(f"{right} successes of {total} trials in {len(trials)} clusters: no rate")
    rate, clusters = right / total, int(np.count_nonzero(trials))
    spread = float(np.square(successes - rate * trials).sum()) / total**2
    # In whole numbers: the spread of equal rates, such as 1 of 49 each, may be rounded to more than 0.
    equal = bool((successes * total == right * trials).all())
    tail = (1.0 - confidence) / 2.0
    if clusters == 1 or equal:
        effective = float(clusters)
    else:
        narrower = student_quantile(tail, total - 1) / student_quantile(tail, clusters - 1)
        variance = spread * clusters / (clusters - 1)
        effective = rate * (1.0 - rate) / variance * narrower**2
        effective = min(float(total), effective)
    return _beta_interval(rate * effective, (1.0 - rate) * effective, confidence)


def _beta_interval(ones: float, zeros: float, confidence: float) -> Interval:
    """Clopper and Pearson's limits for so many successes and failures, which may be fractions."""
    tail = (1.0 - confidence) / 2.0
    return Interval(
        beta_quantile(tail, ones, zeros + 1) if ones else 0.0,
        beta_quantile(1.0 - tail, ones + 1, zeros) if zeros else 1.0,
        confidence,
    )
