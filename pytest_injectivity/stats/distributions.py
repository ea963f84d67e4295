"""Quantiles and tails of the beta, Student's and the binomial distribution.

By the functions of ``scipy.special``: ``scipy.stats`` has the same numbers, and takes a third of a
second to import, which every run would pay.
"""

from scipy import special


def beta_quantile(share: float, a: float, b: float) -> float:
    """The quantile of the beta distribution.

    Args:
        share: of the distribution that lies below.
        a: above 0.
        b: above 0.
    """
    return float(special.betaincinv(a, b, share))


def student_quantile(share: float, freedom: float) -> float:
    """The quantile of Student's distribution with so many degrees of freedom."""
    return float(special.stdtrit(freedom, share))


def student_below(value: float, freedom: float) -> float:
    """The share of Student's distribution at or below a value."""
    return float(special.stdtr(freedom, value))


def binomial_at_most(successes: int, trials: int, rate: float) -> float:
    """The probability of at most so many successes."""
    if successes < 0:
        return 0.0
    if successes >= trials:
        return 1.0
    return float(special.betaincc(successes + 1, trials - successes, rate))


def binomial_more_than(successes: int, trials: int, rate: float) -> float:
    """The probability of more than so many successes."""
    if successes < 0:
        return 1.0
    if successes >= trials:
        return 0.0
    return float(special.betainc(successes + 1, trials - successes, rate))


def binomial_quantile(share: float, trials: int, rate: float) -> int:
    """The least number of successes that at most so many have a probability of at least ``share``."""
    low, high = -1, trials
    while high - low > 1:
        middle = (low + high) // 2
        if binomial_at_most(middle, trials, rate) >= share:
            high = middle
        else:
            low = middle
    return high
