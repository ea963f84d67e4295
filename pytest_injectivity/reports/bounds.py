"""Bounds that would have passed, in few digits, each rounded to the side that passes."""

import re
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

_DIGITS = 4
_BOUND = re.compile(r"\b(at least|at most|below) (\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?![\w.])")


def short_bounds(text: str) -> str:
    """The sentence with shorter numbers: least bounds rounded up, largest ones down.

    >>> short_bounds("kl of at least 0.041315526953599996, top1 of at most 0.8636820465966195")
    'kl of at least 0.04132, top1 of at most 0.8636'
    >>> short_bounds("a bound of at most 0.5; relative of at least 1.2345678e-05")
    'a bound of at most 0.5; relative of at least 1.235e-05'
    """
    return _BOUND.sub(
        lambda found: f"{found[1]} {_rounded(found[2], up='least' in found[1])}", text
    )


def _rounded(number: str, *, up: bool) -> str:
    exact = Decimal(number)
    rounded = Context(_DIGITS, ROUND_CEILING if up else ROUND_FLOOR).plus(exact)
    return number if rounded == exact else f"{float(rounded):.{_DIGITS}g}"
