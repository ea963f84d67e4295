"""Means and quantiles over positions of prompts, with intervals that are clustered by prompt.

Positions of one prompt are alike, so that a hundred of them say less than a hundred prompts would.
"""

import math

import numpy as np

from pytest_injectivity.core.interval import Interval
from pytest_injectivity.core.shapes import Float64, Int64
from pytest_injectivity.stats.arguments import check_confidence, check_fraction
from pytest_injectivity.stats.distributions import student_quantile
from pytest_injectivity.stats.rates import clustered_rate


def clustered_mean(
    sums: Float64[np.ndarray, " clusters"],
    counts: Int64[np.ndarray, " clusters"],
    confidence: float,
) -> Interval:
    """The interval of a mean of numbers that are at least 0 and come in clusters.

    The mean is the ratio of two sums over clusters. Its variance is that of the linearized ratio
    (Cochran, "Sampling Techniques", 1977, section 6.4), and the interval is symmetric in the logarithm
    of the mean, because divergences are skewed: ``mean * exp(+- t s / mean)``.

    Args:
        sums: the sum of each cluster's numbers.
        counts: how many numbers each cluster has; at least one in all.
        confidence: of the interval.

    Returns:
        The interval; ``[0, inf]`` where one cluster, or a sum that is not finite, says nothing.

    Example:
        >>> print(clustered_mean(np.array([1.0, 2.0, 3.0]), np.array([10, 10, 10]), 0.95))
        [0.05776, 0.6926] at 95%
    """
    check_confidence(confidence)
    filled = counts > 0
    sums, counts = sums[filled], counts[filled]
    clusters, total = len(counts), float(counts.sum())
    mean = float(sums.sum()) / total
    if clusters < 2 or not math.isfinite(mean):  # noqa: PLR2004 - one cluster has no spread
        return Interval(0.0, math.inf, confidence)
    if mean == 0.0:
        return Interval(0.0, 0.0, confidence)
    spread = _spread(sums, counts)
    away = student_quantile((1.0 + confidence) / 2.0, clusters - 1)
    # A spread far above the mean has an infinite upper end.
    factor = math.exp(min(700.0, away * math.sqrt(spread) / mean))
    return Interval(mean / factor, mean * factor, confidence)


def clustered_signed_mean(
    sums: Float64[np.ndarray, " clusters"],
    counts: Int64[np.ndarray, " clusters"],
    confidence: float,
) -> Interval:
    """The interval of a mean of numbers of either sign that come in clusters: ``mean +- t s``.

    Args:
        sums: the sum of each cluster's numbers.
        counts: how many numbers each cluster has; at least one in all.
        confidence: of the interval, whose variance is that of `clustered_mean`.

    Returns:
        The interval; without ends where one cluster, or a sum that is not finite, says nothing.

    Example:
        >>> print(clustered_signed_mean(np.array([-1.0, 2.0, 3.0]), np.array([10, 10, 10]), 0.95))
        [-0.3838, 0.6504] at 95%
    """
    check_confidence(confidence)
    filled = counts > 0
    sums, counts = sums[filled], counts[filled]
    clusters, total = len(counts), float(counts.sum())
    mean = float(sums.sum()) / total
    if clusters < 2 or not math.isfinite(mean):  # noqa: PLR2004 - one cluster has no spread
        return Interval(-math.inf, math.inf, confidence)
    away = student_quantile((1.0 + confidence) / 2.0, clusters - 1)
    away *= math.sqrt(_spread(sums, counts))
    return Interval(mean - away, mean + away, confidence)


def _spread(
    sums: Float64[np.ndarray, " clusters"], counts: Int64[np.ndarray, " clusters"]
) -> float:
    """The variance of the linearized ratio of both sums."""
    clusters, total = len(counts), float(counts.sum())
    off = sums - float(sums.sum()) / total * counts
    return float(np.square(off).sum()) * clusters / (clusters - 1) / total**2


def clustered_quantile(
    values: Float64[np.ndarray, " numbers"],
    cluster: Int64[np.ndarray, " numbers"],
    q: float,
    confidence: float,
) -> Interval:
    """The interval of the q-quantile from above of numbers that are at least 0 and come in clusters.

    The share of numbers beyond the sample's quantile has an interval (`clustered_rate`); the quantiles
    at its ends are the interval (Woodruff, "Confidence intervals for medians and other position
    measures", 1952). Where the share may be 0 the upper end is infinite: the largest number of a sample
    bounds nothing.

    Args:
        values: the numbers; none is NaN.
        cluster: which cluster each is of.
        q: the share beyond, above 0.
        confidence: of the interval.

    Example:
        >>> numbers = np.arange(1.0, 1001.0)
        >>> print(clustered_quantile(numbers, np.arange(1000), 0.1, 0.95))
        [880, 919] at 95%
    """
    check_fraction("q", q)
    beyond = values > float(np.quantile(values, 1.0 - q, method="higher"))
    _, number = np.unique(cluster, return_inverse=True)
    trials = np.bincount(number).astype(np.int64)
    hits = np.bincount(number, weights=beyond).astype(np.int64)
    share = clustered_rate(hits, trials, confidence)
    low = float(np.quantile(values, 1.0 - share.high, method="lower"))
    known = share.low > 0.0
    high = float(np.quantile(values, 1.0 - share.low, method="higher")) if known else math.inf
    return Interval(low, high, confidence)
