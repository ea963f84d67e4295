"""Vertical and horizontal axes: where a number is drawn, and what is written beside the axis."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from pytest_injectivity.core.numbers import show

_TICKS = 4
_MANY_DECADES = 5
_LOG_FROM = 30.0  # times the smallest number
_FARTHEST = 1e6  # times: a mark beyond would press everything else into a corner
_LEAST = 1e-6  # of the numbers: a shorter axis would be one of rounding errors
_SMALLEST, _LARGEST = 1e-300, 1e300
_PLAIN = {-2: "0.01", -1: "0.1", 0: "1", 1: "10", 2: "100", 3: "1000"}
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Scale:
    """An axis.

    Attributes:
        low, high: the numbers at its ends.
        start, end: where they are drawn.
        log: whether equal steps are equal factors.
        zero: where a zero is drawn, which has no place on a logarithmic axis; None: there is none.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    zero: float | None = None

    def at(self, value: float) -> float:
        """Where a number is drawn; beyond the ends at the end."""
        if self.log and value <= 0.0:
            return self.start if self.zero is None else self.zero
        low, high, value = (self._bent(one) for one in (self.low, self.high, value))
        share = min(1.0, max(0.0, (value - low) / (high - low)))
        return self.start + share * (self.end - self.start)

    def reaches(self, value: float) -> bool:
        """Whether a number lies between the ends."""
        return self.low <= value <= self.high

    @property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Numbers written beside the axis: where, and how."""
        if not self.log:
            step = _step(self.high - self.low)
            first = math.ceil(self.low / step - 1e-9)
            last = math.floor(self.high / step + 1e-9)
            return tuple((self.at(i * step), show(i * step, 4)) for i in range(first, last + 1))
        first, last = round(math.log10(self.low)), round(math.log10(self.high))
        every = math.ceil((last - first) / _MANY_DECADES)
        powers = range(first, last + 1, every)
        plain = set(powers) <= set(_PLAIN)
        zero = () if self.zero is None else ((self.zero, "0"),)
        return (*zero, *((self.at(10.0**power), _power(power, plain=plain)) for power in powers))

    def _bent(self, value: float) -> float:
        return math.log10(value) if self.log else value


def scale(
    values: Iterable[float],
    start: float,
    end: float,
    *,
    base: float = 0.0,
    band: float = 0.0,
    even: bool = False,
) -> Scale:
    """An axis that shows all numbers: logarithmic where they are far apart, else from a base.

    Args:
        values: finite numbers.
        start: where the smallest is drawn.
        end: where the largest is.
        base: a number that an axis which is not logarithmic shows as well.
        band: how much of the axis belongs to zeros, where it is logarithmic and there are any.
        even: never logarithmic: of bars equal counts are equally long.
    """
    known, base = sorted(map(_drawable, values)), _drawable(base)
    positive = [one for one in known if one > 0.0]
    if (
        not even
        and known
        and positive
        and known[0] >= 0.0
        and positive[-1] > _LOG_FROM * positive[0]
    ):
        low = 10.0 ** math.floor(math.log10(positive[0]) + 1e-9)
        high = 10.0 ** math.ceil(math.log10(positive[-1]) - 1e-9)
        if known[0] > 0.0:
            return Scale(low, high, start, end, log=True)
        least = start + math.copysign(band, end - start)
        return Scale(low, high, least, end, log=True, zero=start)
    least, most = min([base, *known]), max([base, *known])
    if most - least < _LEAST * max(abs(least), abs(most)) or most == least:
        most = least + max(abs(least), 1.0)
    step = _step(most - least)
    return Scale(math.floor(least / step) * step, math.ceil(most / step) * step, start, end)


def decades(
    values: Iterable[float], marks: Iterable[float], start: float, end: float, band: float = 0.0
) -> Scale:
    """A logarithmic axis of whole decades that shows all numbers, and the marks that are not too far.

    Args:
        values: of them the positive ones are drawn.
        marks: numbers to compare with.
        start: where the smallest is drawn, or the zeros.
        end: where the largest is.
        band: how much of the axis belongs to zeros.
    """
    known = [one for one in map(_drawable, values) if one > 0.0] or [1.0]
    least, most = min(known), max(known)
    near = [one for one in marks if least / _FARTHEST <= one <= most * _FARTHEST]
    low = 10.0 ** math.floor(math.log10(min([least, *near])) + 1e-9)
    high = 10.0 ** math.ceil(math.log10(max([most, *near])) - 1e-9)
    if high <= low:
        high = 10.0 * low
    return Scale(low, high, start + band, end, log=True, zero=start if band else None)


def _drawable(value: float) -> float:
    """The number, or the nearest one whose power of ten is a float as well."""
    if abs(value) < _SMALLEST:
        return 0.0
    return math.copysign(min(abs(value), _LARGEST), value)


def _step(length: float) -> float:
    """A round number that goes into the length some four times."""
    rough = length / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return power * next(one for one in (1, 2, 2.5, 5, 10) if one * power >= rough * (1 - 1e-9))


def _power(exponent: int, *, plain: bool) -> str:
    return _PLAIN[exponent] if plain else f"10{str(exponent).translate(_RAISED)}"
