"""Quantiles of a layer's distances or ratios, with order-statistic intervals for dependent rows.

Nearest neighbors are mutual, and some rows are the nearest of many, so the rows of a layer are
dependent: plain order-statistic ranks cover 67 to 92 % where 95 % was promised. Ranks are therefore
taken as if there were fewer rows (`effective_rows`; SPEC section 2, "Intervals"). A bootstrap with
replacement is no way out: it draws copies of a row, which lie at distance zero from each other.
"""

import math

import numpy as np

from pytest_injectivity.core.interval import Interval
from pytest_injectivity.core.shapes import Bool, Float64, Int64
from pytest_injectivity.errors import OptionError
from pytest_injectivity.stats.arguments import check_confidence, check_fraction
from pytest_injectivity.stats.distributions import (
    binomial_at_most,
    binomial_more_than,
    binomial_quantile,
)


def lower_quantile(values: Float64[np.ndarray, " n"], q: float) -> float:
    """The q-quantile that is one of the values, never interpolated upwards (SPEC section 2).

    Args:
        values: at least one number; a NaN among them makes the result NaN.
        q: in [0, 1]; 0 is the minimum.

    Example:
        >>> lower_quantile(np.arange(1.0, 101.0), 0.05)
        5.0
    """
    check_fraction("q", q)
    return float(np.quantile(values, q, method="lower"))


def upper_quantile(values: Float64[np.ndarray, " n"], q: float) -> float:
    """The q-quantile from above that is one of the values, never interpolated downwards.

    Args:
        values: at least one number; a NaN among them makes the result NaN.
        q: in [0, 1]; 0 is the maximum.

    Example:
        >>> upper_quantile(np.arange(1.0, 101.0), 0.05)
        96.0
    """
    check_fraction("q", q)
    return float(np.quantile(values, 1.0 - q, method="higher"))


def effective_rows(
    values: Float64[np.ndarray, " n"], q: float, partner: Int64[np.ndarray, " n"] | None
) -> int:
    """The number of independent rows, 1 to N/2, that say as much about the q-quantile as these do.

    An order-statistic interval rests on the variance of the number of rows under the quantile. Taking
    row j away changes that number by ``D_j``: by j itself where it lies under the quantile, and by
    the rows under it whose partner is j and that have no other row as near. With a share p of the
    rows under the quantile, a row that loses its partner rises above it with probability
    ``-(1-p) ln(1-p) / p`` at constant density. The sum of ``(D_j - mean)^2`` is the jackknife's
    estimate of the variance. It counts what a mutual pair adds once from either side, and one of the
    two is taken off. N is divided by the ratio of the rest to the variance of independent rows, and at
    least by 2, because the rows under a small quantile are pairs.

    Over 1,000 sets of Gaussian rows (d from 2 to 1024, N of 200 and 1,000, q from 0.01 to 0.5)
    intervals at 95 % cover 97 to 99.9 % and are at most 3.3 times as wide as those of independent
    rows, which cover 67 to 92 %; ranks of N/2 rows cover 85 to 99 %.

    Args:
        values: ``r_i`` or ``a_i`` of each row.
        q: the quantile.
        partner: the row that attains each value, an index into ``values``; None where it is not
            known: N/2 is taken, as of mutual pairs.

    Example:
        >>> distances, mutual = np.arange(1.0, 101.0), np.arange(100) ^ 1
        >>> effective_rows(distances, 0.1, mutual)
        50
    """
    n = len(values)
    if partner is None or n < 2:  # noqa: PLR2004 - one row has no partner
        return max(1, n // 2)
    below: Bool[np.ndarray, " n"] = values <= lower_quantile(values, q)
    share = float(below.mean())
    if not 0.0 < share < 1.0:
        return n // 2
    alone = -(1.0 - share) * math.log1p(-share) / share
    influence = below + alone * np.bincount(partner[below], minlength=n)
    mutual_pairs = np.count_nonzero(below & (partner[partner] == np.arange(n))) / 2
    independent = n * share * (1.0 - share)
    twice = (1.0 + alone) ** 2 * (1.0 - share) * mutual_pairs
    excess = (n * float(influence.var()) - twice) / independent
    return max(1, int(n / max(2.0, excess)))


def quantile_interval(
    values: Float64[np.ndarray, " n"],
    q: float,
    confidence: float,
    partner: Int64[np.ndarray, " n"] | None = None,
) -> Interval:
    """An order-statistic interval of the population's q-quantile of numbers that are at least 0.

    Ranks are taken among `effective_rows`. Where the sample is too small for a rank, the limit is 0
    below and infinity above. At q = 0 only an upper limit is known: the sample's minimum.

    Args:
        values: ``r_i`` or ``a_i`` of each row.
        q: the quantile.
        confidence: of the interval.
        partner: the row that attains each value; None: mutual pairs.

    Example:
        >>> print(quantile_interval(np.arange(1.0, 101.0), 0.1, confidence=0.95))
        [1, 20] at 95%
    """
    check_fraction("q", q)
    check_confidence(confidence)
    ordered = np.sort(values)
    if q == 0:
        return Interval(0.0, float(ordered[0]), confidence)
    effective = effective_rows(values, q, partner)
    tail = (1.0 - confidence) / 2.0
    low_rank = binomial_quantile(tail, effective, q)
    high_rank = binomial_quantile(1.0 - tail, effective, q) + 1
    # An effective row stands for several: the first of them below, the last of them above.
    low = (low_rank - 1) * len(ordered) // effective
    high = -(-high_rank * len(ordered) // effective) - 1
    return Interval(
        float(ordered[low]) if low_rank >= 1 else 0.0,
        float(ordered[high]) if high_rank <= effective else math.inf,
        confidence,
    )


def quantile_p_values(
    values: Float64[np.ndarray, " n"],
    q: float,
    bound: float,
    partner: Int64[np.ndarray, " n"] | None = None,
) -> tuple[float, float]:
    """P-values of the tests that the population's q-quantile is at least, or below, a bound.

    The binomial test over `effective_rows`, as in `quantile_interval`, so that a bound outside that
    interval is always decided.

    Args:
        values: ``r_i`` or ``a_i`` of each row.
        q: the quantile, above 0.
        bound: what the quantile is held against.
        partner: the row that attains each value; None: mutual pairs.

    Returns:
        ``(p_above, p_below)``: a small ``p_above`` shows that the quantile is at least ``bound``,
        a small ``p_below`` that it is under it.

    Raises:
        OptionError: q is 0: no sample bounds a population's minimum from below.

    Example:
        >>> p_above, p_below = quantile_p_values(np.arange(1.0, 101.0), 0.1, bound=50.0)
        >>> p_above > 0.999, p_below < 1e-9
        (True, True)
    """
    check_fraction("q", q)
    if q == 0:
        raise OptionError(
            "q=0 with confidence=: no sample bounds a population's minimum from below;"
            " give q above 0, or no confidence"
        )
    effective = effective_rows(values, q, partner)
    # In whole numbers: a float just under one would be rounded to the wrong side.
    under = int(np.count_nonzero(~(values >= bound))) * effective
    p_above = binomial_at_most(-(-under // len(values)), effective, q)
    p_below = binomial_more_than(under // len(values) - 1, effective, q)
    return p_above, p_below
