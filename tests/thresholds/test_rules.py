"""Rules from measured values to thresholds."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.thresholds.rules import (
    AT_LEAST,
    AT_MOST,
    BITS,
    KEPT,
    SHARE,
    SQUARED,
    Rule,
    rounded_down,
    rounded_up,
)

POSITIVE = st.floats(1e-12, 1e12)


@given(POSITIVE)
def test_bounds_are_rounded_outward_to_two_digits(value: float) -> None:
    """By less than a tenth, and never past the value."""
    up, down = rounded_up(value), rounded_down(value)
    assert down <= value <= up
    assert up <= value * 1.1
    assert value <= down * 1.12
    assert [f"{one:.2g}" for one in (up, down)] == [
        f"{float(f'{one:.15g}'):.2g}" for one in (up, down)
    ]
    assert float(f"{up:.2g}") == up
    assert float(f"{down:.2g}") == down


@pytest.mark.parametrize(
    ("rule", "values", "worst", "threshold"),
    [
        (AT_MOST, [0.1, 0.3, 0.2], 0.3, 0.45),
        (KEPT, [0.9, 1.3, 1.0], 1.3, 0.51),
        (KEPT, [0.75, 1.3], 0.75, 0.5),
        (AT_LEAST, [0.3, 0.06], 0.06, 0.02),
        (SQUARED, [0.1, 0.04], 0.1, 0.23),
        (SHARE, [0.9, 0.98], 0.9, 0.85),
        (SHARE, [1.0], 1.0, 1.0),
        (BITS, [3.0, 4.0], 4.0, 5.0),
    ],
)
def test_a_threshold_leaves_room_beyond_the_worst_value(
    rule: Rule, values: list[float], worst: float, threshold: float
) -> None:
    """A factor of 1.5 or 3, or a bit."""
    assert worst == rule.worst(values)
    assert threshold == rule.of(worst, 0.0)


def test_a_number_that_falls_with_the_prompts_leaves_more_room_on_fewer() -> None:
    """A factor of 2 for each doubling."""
    assert 0.005 == AT_LEAST.of(0.06, 2.0)
    assert AT_MOST.of(0.06, 2.0) == AT_MOST.of(0.06, 0.0)


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_no_ratio_is_worse_than_one_that_is_none(value: float) -> None:
    """Such as that of a margin of 0."""
    assert math.inf == KEPT.badness(value)
