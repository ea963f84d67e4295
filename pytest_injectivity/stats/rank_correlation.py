"""Spearman's rank correlation, with an interval by resampling clusters."""

import math
from dataclasses import dataclass

import numpy as np

from pytest_injectivity.core.interval import Interval
from pytest_injectivity.core.ranks import spearman
from pytest_injectivity.core.shapes import Float64, Int64
from pytest_injectivity.errors import OptionError
from pytest_injectivity.stats.arguments import check_confidence

_FEWEST = 3
_DRAWS = 2000
_KEPT = 0.99


@dataclass(frozen=True)
class RankCorrelation:
    """How far two quantities are in the same order.

    Attributes:
        value: from -1 to 1; NaN where one of the two is the same at all points.
        interval: by the bootstrap's percentiles; ``[-1, 1]`` where the points say nothing of others:
            there are fewer than three clusters, or too many draws have no correlation.
        points: how many.
        clusters: how many that were drawn.
    """

    value: float
    interval: Interval
    points: int
    clusters: int

    @property
    def shows(self) -> bool:
        """Whether the interval leaves 0 out."""
        return not self.interval.low <= 0.0 <= self.interval.high


def rank_correlation(
    one: Float64[np.ndarray, " points"],
    other: Float64[np.ndarray, " others"],
    clusters: Int64[np.ndarray, " labels"] | None = None,
    *,
    confidence: float = 0.95,
    draws: int = _DRAWS,
    seed: int = 0,
) -> RankCorrelation:
    """Spearman's correlation of two quantities at the same points.

    Points of one cluster (positions of a prompt, layers of a model) are alike: whole clusters are drawn,
    with replacement, and the correlation of each draw is computed over all its points. Draws in which
    one of the two is the same everywhere have none; of more than one in a hundred of these there is no
    interval, because what is left out are the draws that speak against a correlation.

    Args:
        one: a finite or infinite number at each point; ties share their mean rank.
        other: likewise.
        clusters: the cluster of each point; None: each is its own.
        confidence: of the interval.
        draws: of the bootstrap.
        seed: of the draws.

    Raises:
        OptionError: there are fewer than three points, not as many of each, or one is NaN.

    Source: Spearman 1904; Efron 1979; Field and Welsh, "Bootstrapping clustered data" (2007).

    Example:
        >>> found = rank_correlation(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.0, 9.0, 4.0]))
        >>> round(found.value, 3), found.points
        (0.8, 4)
    """
    check_confidence(confidence)
    label = np.arange(len(one)) if clusters is None else clusters
    if not len(one) == len(other) == len(label) or len(one) < _FEWEST:
        raise OptionError(
            f"a rank correlation of {len(one)} and {len(other)} numbers in {len(label)} clusters:"
            f" give as many of each, {_FEWEST} or more"
        )
    if np.isnan(one).any() or np.isnan(other).any():
        raise OptionError(
            "a rank correlation of NaN: leave out points at which nothing was measured"
        )
    members = [np.flatnonzero(label == own) for own in np.unique(label)]
    interval = Interval(-1.0, 1.0, confidence)
    if len(members) >= _FEWEST:
        random = np.random.default_rng(seed)
        drawn = (
            np.concatenate([members[at] for at in random.integers(len(members), size=len(members))])
            for _ in range(draws)
        )
        found = [spearman(one[some].tolist(), other[some].tolist()) for some in drawn]
        kept = [value for value in found if not math.isnan(value)]
        if len(kept) >= _KEPT * draws:
            low, high = np.quantile(kept, [(1 - confidence) / 2, (1 + confidence) / 2]).tolist()
            interval = Interval(low, high, confidence)
    value = spearman(one.tolist(), other.tolist())
    return RankCorrelation(value, interval, len(one), len(members))
