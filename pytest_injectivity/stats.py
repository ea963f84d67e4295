"""What a finite sample of prompts says: quantiles, rates and "none was seen", with intervals.

The rows of a layer are dependent, because nearest neighbours are mutual: plain order-statistic
ranks cover 83 % where 95 % was promised. Ranks are therefore taken as if there were N/2 rows
(SPEC section 2, "Intervals"). No bootstrap with replacement: it makes zero distances.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from scipy import stats as scipy_stats

from pytest_injectivity.errors import OptionError
from pytest_injectivity.verdict import Interval


def lower_quantile(values: Float64[np.ndarray, " n"], q: float) -> float:
    """The q-quantile that is one of the values, never interpolated upwards (SPEC section 2).

    Args:
        values: at least one number; a NaN among them makes the result NaN.
        q: in [0, 1]; 0 is the minimum.
    """
    check_fraction("q", q)
    return float(np.quantile(values, q, method="lower"))


def upper_quantile(values: Float64[np.ndarray, " n"], q: float) -> float:
    """The q-quantile from above that is one of the values, never interpolated downwards."""
    check_fraction("q", q)
    return float(np.quantile(values, 1.0 - q, method="higher"))


def quantile_interval(values: Float64[np.ndarray, " n"], q: float, confidence: float) -> Interval:
    """An order-statistic interval of the population's q-quantile of distances (0 at the least).

    Ranks are those of N/2 effective rows. Where the sample is too small for a rank the limit is
    the trivial one: 0 below, infinity above. At q = 0 only the upper limit, the minimum, is known.
    """
    check_fraction("q", q)
    check_confidence(confidence)
    ordered = np.sort(values)
    if q == 0:
        return Interval(0.0, float(ordered[0]), confidence)
    effective = max(1, len(ordered) // 2)
    tail = (1.0 - confidence) / 2.0
    low_rank = int(scipy_stats.binom.ppf(tail, effective, q))
    high_rank = int(scipy_stats.binom.ppf(1.0 - tail, effective, q)) + 1
    # An effective row stands for two: the first of them below, the last of them above.
    low = (low_rank - 1) * len(ordered) // effective
    high = -(-high_rank * len(ordered) // effective) - 1
    return Interval(
        float(ordered[low]) if low_rank >= 1 else 0.0,
        float(ordered[high]) if high_rank <= effective else math.inf,
        confidence,
    )


def quantile_p_values(
    values: Float64[np.ndarray, " n"], q: float, bound: float
) -> tuple[float, float]:
    """How surprising the sample is if the population's q-quantile were below, or above, the bound.

    Returns:
        ``(p_above, p_below)``: a small ``p_above`` shows that the quantile is at least ``bound``,
        a small ``p_below`` that it is under it. Counts are halved, as in `quantile_interval`.

    Raises:
        OptionError: q is 0: no sample bounds the minimum of a population from below.
    """
    check_fraction("q", q)
    if q == 0:
        raise OptionError(
            "q=0 with confidence=: no sample bounds a population's minimum from below;"
            " give q above 0, or no confidence"
        )
    effective = max(1, len(values) // 2)
    under = float(np.count_nonzero(~(values >= bound))) * effective / len(values)
    p_above = float(scipy_stats.binom.cdf(math.ceil(under), effective, q))
    p_below = float(scipy_stats.binom.sf(math.floor(under) - 1, effective, q))
    return p_above, p_below


def clopper_pearson(successes: int, trials: int, confidence: float) -> Interval:
    """The exact interval of a rate; 20 of 20 proves 0.83 at 95 %, and nothing ever proves 1."""
    check_confidence(confidence)
    if not 0 <= successes <= trials or trials == 0:
        raise OptionError(f"{successes} successes of {trials} trials is not a rate")
    tail = (1.0 - confidence) / 2.0
    beta = scipy_stats.beta
    low = beta.ppf(tail, successes, trials - successes + 1) if successes else 0.0
    high = beta.ppf(1.0 - tail, successes + 1, trials - successes) if successes < trials else 1.0
    return Interval(float(low), float(high), confidence)


def rate_p_values(successes: int, trials: int, rate: float) -> tuple[float, float]:
    """How surprising the count is if the true rate were below, or above, the one given.

    Returns:
        ``(p_above, p_below)``: a small ``p_above`` shows that the rate is at least ``rate``, a small
        ``p_below`` that it is under it.

    Raises:
        OptionError: the rate is 1, which no sample proves.
    """
    if rate >= 1.0:
        raise OptionError(
            "min_rate=1.0 with confidence=: no number of successes proves a rate of exactly 1;"
            " give a lower rate (20 of 20 proves 0.83 at 95 %), or no confidence"
        )
    binomial = scipy_stats.binom
    return float(binomial.sf(successes - 1, trials, rate)), float(
        binomial.cdf(successes, trials, rate)
    )


def near_collision_rate_bound(n: int, confidence: float = 0.95) -> float:
    """Upper bound of a random pair's near-collision rate when N independent prompts showed none.

    Only ``floor(N/2)`` disjoint pairs are independent: 6e-3 for N = 1000, not 6e-6.
    """
    check_confidence(confidence)
    return float(1.0 - (1.0 - confidence) ** (1.0 / (n // 2))) if n > 1 else 1.0


def exact_collision_rate_bound(n: int, confidence: float = 0.95) -> float:
    """Upper bound of a random pair's exact-collision rate when N independent prompts showed none.

    Colliding exactly is an equivalence relation: at most ``a^2``, with ``a`` the solution of
    ``(1-a)^N + N a (1-a)^(N-1) = 1 - confidence`` (SPEC section 2): 2.25e-5 for N = 1000.
    """
    check_confidence(confidence)
    # P(Binomial(n, a) <= 1) = 1 - confidence is what Clopper-Pearson solves for one success.
    a: float = scipy_stats.beta.ppf(confidence, 2, n - 1) if n > 1 else 1.0
    return float(a * a)


def holm(p_values: Sequence[float], alpha: float) -> tuple[bool, ...]:
    """Which hypotheses fall under Holm's step-down procedure at family-wise level alpha."""
    rejected = [False] * len(p_values)
    for step, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if not p_values[index] <= alpha / (len(p_values) - step):
            break
        rejected[index] = True
    return tuple(rejected)


def check_fraction(name: str, value: float) -> None:
    """Refuse what is not in [0, 1], NaN too."""
    if not 0.0 <= value <= 1.0:
        raise OptionError(f"{name}={value!r} is not a fraction: give a number from 0 to 1")


def check_confidence(confidence: float) -> None:
    """Refuse what is not strictly between 0 and 1, NaN too."""
    if not 0.0 < confidence < 1.0:
        raise OptionError(f"confidence={confidence!r}: give a number between 0 and 1, such as 0.95")
