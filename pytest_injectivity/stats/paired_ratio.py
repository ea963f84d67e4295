"""The ratio of one number of two models over the same prompts, with an interval.

A nearest-neighbor quantile has no formula for its variance, and a bootstrap draws copies, which lie
at distance zero. The ratio's variance is therefore seen on random halves of the prompts, drawn
without replacement (SPEC section 2, "Intervals").
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pytest_injectivity.core.interval import Interval
from pytest_injectivity.core.shapes import Int64
from pytest_injectivity.errors import OptionError
from pytest_injectivity.stats.arguments import check_confidence
from pytest_injectivity.stats.distributions import student_below, student_quantile

# The smallest standard deviation that a log ratio is divided by: it is 0 where all halves agree.
_LEAST_SPREAD = 1e-12


@dataclass(frozen=True)
class PairedRatio:
    """A number of one model divided by the same number of another, and how uncertain that ratio is.

    Attributes:
        value: over all prompts; 0, infinite or NaN where a number is zero or not finite.
        spread: standard deviation of the ratio's logarithm; infinite where a number has no logarithm.
        draws: how many halves of the prompts the spread was computed from.
    """

    value: float
    spread: float
    draws: int

    def interval(self, confidence: float) -> Interval:
        """The interval at a confidence; ``[0, inf]`` where a number has no logarithm."""
        check_confidence(confidence)
        if not math.isfinite(self.spread):
            return Interval(0.0, math.inf, confidence)
        away = student_quantile((1.0 + confidence) / 2.0, self.draws - 1) * self.spread
        return Interval(self.value * math.exp(-away), self.value * math.exp(away), confidence)

    def p_values(self, low: float, high: float) -> tuple[float, float]:
        """P-values of the tests that the population's ratio lies inside, or outside, two bounds.

        Args:
            low: above 0.
            high: above ``low``; it may be infinite.

        Returns:
            ``(p_inside, p_outside)``: a small ``p_inside`` shows that the ratio is at least ``low``
            and at most ``high``, a small ``p_outside`` that it is not. A value that is no positive
            number is outside.
        """
        if not 0.0 < self.value < math.inf:
            return 1.0, 0.0
        if not math.isfinite(self.spread):
            return 1.0, 1.0
        value, spread = math.log(self.value), max(self.spread, _LEAST_SPREAD)
        outside = max(math.log(low) - value, value - math.log(high)) / spread
        # Where the true ratio is one bound, the value may also come to lie beyond the other one.
        across = outside + math.log(high / low) / spread
        freedom = self.draws - 1
        beyond = student_below(-outside, freedom) + student_below(-across, freedom)
        return student_below(outside, freedom), min(1.0, beyond)


def paired_ratio(
    left: Callable[[Int64[np.ndarray, " rows"]], float],
    right: Callable[[Int64[np.ndarray, " rows"]], float],
    n: int,
    *,
    draws: int = 100,
    seed: int = 0,
) -> PairedRatio:
    """``left / right``, a number of two models over the same prompts, and its uncertainty.

    Both numbers are computed again on random halves of the prompts, the same half for both, drawn
    without replacement (with replacement a row and its copy are at distance zero). The number of a
    half drawn from N rows scatters as that of N rows drawn from the population does (Shao and Wu, "A
    general theory for jackknife variance estimation", 1989): the interval is the ratio of all rows
    times ``exp(+- t s)``, with ``s`` the standard deviation of the halves' log ratios. A minimum
    falls as N grows; as far as both models' minima fall alike that cancels in the ratio, and what is
    left moves the mean of the halves, which the interval does not use.

    Args:
        left: gives the first model's number over the prompts whose indexes it is given, ascending,
            computed from scratch, nearest neighbors too.
        right: gives the other model's.
        n: prompts, at least 4.
        draws: how many halves, at least 2.
        seed: of the halves.

    Raises:
        OptionError: there are fewer than 4 prompts or 2 draws.

    Example:
        >>> distances = np.arange(1.0, 101.0)
        >>> ratio = paired_ratio(
        ...     lambda rows: 2.0 * float(distances[rows].min()),
        ...     lambda rows: float(distances[rows].min()),
        ...     100,
        ... )
        >>> ratio.value, ratio.draws
        (2.0, 100)
    """
    if n < 4 or draws < 2:  # noqa: PLR2004 - half of four is a pair, and one draw has no spread
        raise OptionError(f"n={n}, draws={draws}: give at least 4 prompts and 2 draws")
    generator = np.random.default_rng(seed)
    drawn = [generator.choice(n, n // 2, replace=False) for _ in range(draws)]
    samples = [np.arange(n), *(np.sort(half) for half in drawn)]
    values = np.array([(left(rows), right(rows)) for rows in samples], dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(values[0, 0] / values[0, 1])
    if not (np.isfinite(values) & (values > 0)).all():
        return PairedRatio(value, math.inf, draws)
    halves = np.log(values[1:, 0]) - np.log(values[1:, 1])
    return PairedRatio(value, float(np.std(halves, ddof=1)), draws)
