"""Formatting of numbers for people."""

import math


def show(value: float, digits: int = 4) -> str:
    """Format a number with ``digits`` significant digits, integers without a point."""
    if math.isfinite(value) and value == int(value) and abs(value) < 10**digits:
        return str(int(value))
    return f"{value:.{digits}g}"


def show_apart(value: float, bound: float) -> tuple[str, str]:
    """Format two numbers with just enough digits to look different when they are different."""
    for digits in range(4, 18):
        shown = show(value, digits), show(bound, digits)
        if shown[0] != shown[1] or not value != bound:  # noqa: SIM202 - NaN differs from itself
            break
    return shown
