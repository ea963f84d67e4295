"""Bounds that would have passed, in few digits."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.core.numbers import show_down, show_up


@pytest.mark.parametrize(
    ("value", "down", "up"),
    [
        (0.05937733416012034, "0.05937", "0.05938"),
        (1.2345678e-07, "1.234e-07", "1.235e-07"),
        (123456.75, "1.234e+05", "1.235e+05"),
        (1.00001, "1", "1.001"),
        (0.1, "0.1", "0.1"),
        (4.0, "4", "4"),
        (0.0, "0", "0"),
        (math.inf, "inf", "inf"),
        (math.nan, "nan", "nan"),
    ],
)
def test_a_bound_is_rounded_to_the_side_that_passes(value: float, down: str, up: str) -> None:
    """In four digits; what fits stays as it is."""
    assert (down, up) == (show_down(value), show_up(value))


@given(st.floats(1e-300, 1e300))
def test_what_is_shown_would_have_passed(value: float) -> None:
    """Whatever was measured, and not by much."""
    down, up = float(show_down(value)), float(show_up(value))
    assert down <= value <= up
    assert up - down <= 2e-3 * value
