"""Formatting of numbers for people."""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal


def show(value: float, digits: int = 4) -> str:
    """Format a number with ``digits`` significant digits, integers without a point."""
    if math.isfinite(value) and value == int(value) and abs(value) < 10**digits:
        return str(int(value))
    return f"{value:.{digits}g}"


def show_up(value: float) -> str:
    """Format a least bound that would have passed: the number rounded up still does.

    >>> show_up(0.041315526953599996), show_up(0.5), show_up(1.2345678e-05)
    ('0.04132', '0.5', '1.235e-05')
    """
    return _rounded(value, ROUND_CEILING)


def show_down(value: float) -> str:
    """Format a largest bound that would have passed: the number rounded down still does.

    >>> show_down(0.8636820465966195), show_down(0.5), show_down(math.inf)
    ('0.8636', '0.5', 'inf')
    """
    return _rounded(value, ROUND_FLOOR)


def _rounded(value: float, rounding: str) -> str:
    # Of the shortest text that reads as the number: 0.1 itself is a little more than a tenth.
    rounded = Context(prec=4, rounding=rounding).plus(Decimal(repr(float(value))))
    return show(float(rounded))


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
