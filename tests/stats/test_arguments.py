"""Fractions and confidence levels: what is refused, everywhere they are asked for."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from pytest_injectivity import stats
from pytest_injectivity.errors import OptionError

ONES, COUNTS = np.ones(5), np.ones(2, np.int64)


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan])
@pytest.mark.parametrize(
    "ask",
    [
        lambda q: stats.lower_quantile(ONES, q),
        lambda q: stats.upper_quantile(ONES, q),
        lambda q: stats.quantile_interval(ONES, q, 0.95),
        lambda q: stats.quantile_p_values(ONES, q, 0.5),
    ],
    ids=["lower_quantile", "upper_quantile", "quantile_interval", "quantile_p_values"],
)
def test_a_fraction_outside_0_to_1_is_refused(ask: Callable[[float], object], q: float) -> None:
    """The message names q and its value."""
    with pytest.raises(
        OptionError, match=f"^q={q!r} is not a fraction: give a number from 0 to 1$"
    ):
        ask(q)


@pytest.mark.parametrize("confidence", [0.0, 1.0, -0.5, 95.0, math.nan])
@pytest.mark.parametrize(
    "ask",
    [
        lambda confidence: stats.quantile_interval(ONES, 0.5, confidence),
        lambda confidence: stats.clopper_pearson(1, 2, confidence),
        lambda confidence: stats.clustered_rate(COUNTS, COUNTS, confidence),
        lambda confidence: stats.near_collision_rate_bound(10, confidence),
        lambda confidence: stats.exact_collision_rate_bound(10, confidence),
        lambda confidence: stats.PairedRatio(1.0, 0.1, 9).interval(confidence),
    ],
    ids=["quantile", "rate", "clustered_rate", "near_collisions", "exact_collisions", "ratio"],
)
def test_a_confidence_outside_0_to_1_is_refused(
    ask: Callable[[float], object], confidence: float
) -> None:
    """The message gives the value: 95 is not 0.95."""
    with pytest.raises(OptionError, match=f"^confidence={confidence!r}: give a number between"):
        ask(confidence)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_fraction_within_0_to_1_is_accepted(value: float) -> None:
    """Both ends too: the lower quantiles of three values there are the three values."""
    values = np.array([2.0, 3.0, 4.0])
    assert 2.0 + 2.0 * value == stats.lower_quantile(values, value)
