"""Formatting of numbers for people."""

import math


def show(value: float, digits: int = 4) -> str:
    """Format a number with ``digits`` significant digits, integers without a point."""
    if math.isfinite(value) and value == int(value) and abs(value) < 10**digits:
        return str(int(value))
    return f"{value:.{digits}g}"


def times_over(value: float, bound: float) -> float:
    """A number in units of what is accepted: above 1 it is too large; infinite for NaN.

    >>> times_over(3.0, 2.0), times_over(0.0, 0.0), times_over(math.nan, 1.0)
    (1.5, 0.0, inf)
    """
    if math.isnan(value):
        return math.inf
    return value / bound if bound else (math.inf if value else 0.0)


def show_apart(value: float, bound: float) -> tuple[str, str]:
    """Format two numbers with just enough digits to look different when they are different."""
    for digits in range(4, 18):
        shown = show(value, digits), show(bound, digits)
        if shown[0] != shown[1] or not value != bound:  # noqa: SIM202 - NaN differs from itself
            break
    return shown
