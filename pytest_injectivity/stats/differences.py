"""The difference of two rates that were measured on the same prompts, with an interval."""

import math
from typing import NamedTuple

import numpy as np

from pytest_injectivity.core.interval import Interval
from pytest_injectivity.core.shapes import Float64, Int64
from pytest_injectivity.errors import OptionError
from pytest_injectivity.stats.rates import clustered_rate


class Trials(NamedTuple):
    """The successes and trials of each cluster."""

    successes: Int64[np.ndarray, " clusters"]
    trials: Int64[np.ndarray, " clusters"]

    @property
    def rate(self) -> float:
        """The share of successes, of all clusters together."""
        return int(self.successes.sum()) / int(self.trials.sum())

    @property
    def residuals(self) -> Float64[np.ndarray, " clusters"]:
        """How many successes more than its share each cluster has."""
        return self.successes - self.rate * self.trials


def clustered_difference(first: Trials, second: Trials, confidence: float) -> Interval:
    """The interval of the difference of two rates, whose trials come in the same clusters.

    Each limit is built from the limits of both rates (`clustered_rate`) and the correlation of the
    clusters: Newcombe's interval of a paired difference ("Improved confidence intervals for the
    difference between binomial proportions based on paired data", 1998), for clusters of trials. So
    it knows something where all clusters have the same rate, of which a variance knows nothing.

    Args:
        first: the rate from which the other is taken.
        second: the other rate, cluster by cluster of the same prompts.
        confidence: of the interval.

    Raises:
        OptionError: the clusters differ in number, or one of the two is no rate.

    Example:
        >>> read = Trials(np.array([9, 7, 8, 9]), np.full(4, 10))
        >>> guessed = Trials(np.array([3, 1, 2, 3]), np.full(4, 10))
        >>> print(clustered_difference(read, guessed, confidence=0.95))
        [0.5848, 0.6095] at 95%
    """
    if len(first.trials) != len(second.trials):
        raise OptionError(
            f"a difference of {len(first.trials)} and {len(second.trials)} clusters: give both rates"
            " of the same prompts"
        )
    one = clustered_rate(first.successes, first.trials, confidence)
    other = clustered_rate(second.successes, second.trials, confidence)
    difference, shared = first.rate - second.rate, _correlation(first, second)
    down = _length(first.rate - one.low, other.high - second.rate, shared)
    up = _length(one.high - first.rate, second.rate - other.low, shared)
    return Interval(max(-1.0, difference - down), min(1.0, difference + up), confidence)


def _length(one: float, other: float, correlation: float) -> float:
    """The length of the difference of two deviations."""
    return math.sqrt(max(0.0, one**2 + other**2 - 2 * correlation * one * other))


def _correlation(first: Trials, second: Trials) -> float:
    """The correlation of both rates over the clusters; 0 where one of them does not vary."""
    one, other = first.residuals, second.residuals
    size = math.sqrt(float(np.square(one).sum()) * float(np.square(other).sum()))
    return float((one * other).sum()) / size if size > 0.0 else 0.0
