"""A two-sided interval of a measured value."""

from dataclasses import dataclass

from pytest_injectivity.core.numbers import show


@dataclass(frozen=True)
class Interval:
    """A two-sided interval of a measured value at a confidence level in (0, 1).

    Example:
        >>> str(Interval(0.5, 0.75, confidence=0.95))
        '[0.5, 0.75] at 95%'
    """

    low: float
    high: float
    confidence: float

    def __str__(self) -> str:
        return f"[{show(self.low)}, {show(self.high)}] at {100 * self.confidence:g}%"
