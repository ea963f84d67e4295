"""Rules by which a threshold follows from what trusted models measure.

Each leaves room beyond the worst value of all layers, samples and children: a factor of 1.5, of 3 for
low quantiles. Other samples of one child lie beyond it by less (docs/log.md, 2026-11-29). Numbers of a
model itself fall as the number of prompts grows: a sample that is smaller than what the gate judges
leaves a factor of 2 more for each doubling, that of points on a line; measured are 1.2 to 1.7.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

ALLOWANCE = 1.5
"""Beyond the worst value of a ratio, a relative error or a divergence's root."""

LOW_QUANTILE = 3.0
"""Below the least low quantile: that of a few hundred prompts hangs on two or three of them."""

_DOUBLING = 2.0
_DIGITS = 2


@dataclass(frozen=True)
class Rule:
    """How a threshold follows from measured values.

    Attributes:
        badness: grows as a value gets worse.
        of: the threshold from the worst value, and from the doublings that make the samples as large as
            the set that the gate judges.
        said: the rule in words.
    """

    badness: Callable[[float], float]
    of: Callable[[float, float], float]
    said: str

    def worst(self, values: Iterable[float]) -> float:
        """The worst of some values.

        >>> AT_MOST.worst([0.1, 0.3]), KEPT.worst([0.9, 1.25])
        (0.3, 1.25)
        """
        return max(values, key=self.badness)


def _off_one(value: float) -> float:
    return abs(math.log(value)) if 0 < value < math.inf else math.inf


AT_MOST = Rule(
    badness=lambda value: value,
    of=lambda worst, _doublings: rounded_up(worst * ALLOWANCE),
    said=f"the largest value, times {ALLOWANCE:g}",
)
"""For a number that is to be small: an upper bound."""

SQUARED = Rule(
    badness=lambda value: value,
    of=lambda worst, _doublings: rounded_up(worst * ALLOWANCE**2),
    said=f"the largest value, times {ALLOWANCE**2:g}, because it grows as the square of an error",
)
"""For a divergence, which grows as the square of what causes it: an upper bound."""

SHARE = Rule(
    badness=lambda value: -value,
    of=lambda worst, _doublings: max(0, math.floor(100 * (1 - (1 - worst) * ALLOWANCE))) / 100,
    said=f"1 minus {ALLOWANCE:g} times what the smallest value lacks",
)
"""For a share that is to be near 1: a lower bound."""

KEPT = Rule(
    badness=_off_one,
    of=lambda worst, _doublings: rounded_down(min(worst, 1 / worst) / ALLOWANCE),
    said=f"the value farthest from 1, or 1 over it, divided by {ALLOWANCE:g}",
)
"""For a ratio to the parent's number: a lower bound, and 1 over it is the upper one."""

AT_LEAST = Rule(
    badness=lambda value: -value,
    of=lambda worst, doublings: rounded_down(worst / LOW_QUANTILE / _DOUBLING**doublings),
    said=(
        f"the smallest value, divided by {LOW_QUANTILE:g}, and by 2 for each doubling up to the number"
        " of prompts judged"
    ),
)
"""For a number of the model itself that falls as the number of prompts grows: a lower bound."""

BITS = Rule(
    badness=lambda value: value,
    of=lambda worst, _doublings: worst + 1,
    said="one more than the most of them, since each bit leaves less than a hundredth of the collisions",
)
"""For a number of bits that is enough."""


def rounded_up(value: float) -> float:
    """The next number of two digits that is not smaller.

    >>> rounded_up(0.1234), rounded_up(0.12), rounded_up(98.7)
    (0.13, 0.12, 99.0)
    """
    near = float(f"{value:.{_DIGITS - 1}e}")
    return near if near >= value else float(f"{near + _unit(value):.{_DIGITS - 1}e}")


def rounded_down(value: float) -> float:
    """The next number of two digits that is not larger.

    >>> rounded_down(0.1299), rounded_down(0.12), rounded_down(0.00996)
    (0.12, 0.12, 0.0099)
    """
    near = float(f"{value:.{_DIGITS - 1}e}")
    return near if near <= value else float(f"{near - _unit(value):.{_DIGITS - 1}e}")


def _unit(value: float) -> float:
    """One in the second digit of a positive number."""
    return float(10.0 ** (math.floor(math.log10(value)) - _DIGITS + 1))
