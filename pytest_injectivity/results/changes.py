"""Changes of a layer's numbers between a recorded run and this one, metric by metric.

Every number is judged in the direction in which its metric is bad. A tolerance is a share of the
recorded number: of a margin of 2, with 0.01, nothing under 1.98 passes. A number that is *better* than
recorded by more than the tolerance passes, and its record is called stale: a gate that keeps the old
number would let a later run fall back to it.

Standard library only: comparing saved runs loads no torch.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from numbers import Real
from typing import TypeAlias

from pytest_injectivity.core.layers import HEAD
from pytest_injectivity.core.numbers import show, show_apart
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.metrics import Metric, by_metric, metric_of, recorded
from pytest_injectivity.results.verdict import Relation

Allowed: TypeAlias = float | Mapping[str, float]
"""One tolerance for every metric that is not a count, or tolerances by the metric's name."""

Numbers: TypeAlias = Mapping[str, float]
"""The numbers of a layer by metric name; near fractions have their eps in the name (``… 0.01``)."""

_MANY = 1e4


@dataclass(frozen=True)
class Shares:
    """How much worse every metric may get, as a share of the recorded number.

    Attributes:
        by_metric: the share of each recorded metric, by its name.
    """

    by_metric: Mapping[str, float]

    def of(self, name: str) -> float:
        """The share of a number, by the number's name."""
        return self.by_metric[metric_of(name).name]


class Fate(StrEnum):
    """How a number changed."""

    KEPT = "kept"
    WORSE = "worse"
    BETTER = "better"
    NEW = "new"


@dataclass(frozen=True)
class Change:
    """One number of one layer, as recorded and as measured.

    Attributes:
        name: the number's name.
        was: the recorded value; None where it was not recorded.
        now: the measured value; None where it was not measured.
        tolerance: the share of ``was`` that it may be worse by.
    """

    name: str
    was: float | None
    now: float | None
    tolerance: float

    @property
    def metric(self) -> Metric:
        """The metric that the number belongs to."""
        return metric_of(self.name)

    @property
    def fate(self) -> Fate:
        """Worse or better beyond the tolerance, or neither; NaN and a missing number are worse."""
        if self.was is None:
            return Fate.NEW
        if self.now is None or not self._holds(self.was, self.now):
            return Fate.WORSE
        if self.metric.better != "neither" and not self._holds(self.now, self.was):
            return Fate.BETTER
        return Fate.KEPT

    @property
    def relation(self) -> Relation:
        """How the number must stand to `bound`."""
        if self.metric.better == "neither":
            falls = self.was is not None and self.now is not None and self.now < self.was
            return ">=" if falls else "<="
        return ">=" if self.metric.better == "more" else "<="

    @property
    def bound(self) -> float:
        """The worst number that passes; of a two-sided metric the limit on the side it moved to."""
        if self.was is None:
            return math.nan
        low, high = self._limits(self.was)
        return low if self.relation == ">=" else high

    @property
    def share(self) -> float | None:
        """The relative change: -0.1 is a tenth less; None where it is not defined."""
        if self.was is None or self.now is None or not self.was:
            return 0.0 if self.was == self.now == 0.0 else None
        share = self.now / self.was - 1.0
        return share if math.isfinite(share) else None

    @property
    def harm(self) -> float:
        """The relative change in the bad direction, at least 0, for sorting."""
        if self.fate is Fate.NEW:
            return 0.0
        if self.share is None:
            return math.inf if self.fate is Fate.WORSE else 0.0
        signs = {"more": -self.share, "less": self.share, "neither": abs(self.share)}
        return max(0.0, signs[self.metric.better])

    @property
    def needed(self) -> float | None:
        """The smallest tolerance of four decimals that passes; None where none does."""
        if not self.was or self.share is None or not math.isfinite(self.harm * _MANY):
            return None
        needed = math.ceil(self.harm * _MANY) / _MANY
        # Rounding may leave the product a hair on the wrong side of the number.
        while Change(self.name, self.was, self.now, needed).fate is Fate.WORSE:
            needed = max(needed + 1 / _MANY, math.nextafter(needed, math.inf))
        return needed

    @property
    def words(self) -> str:
        """The change in words: ``margin_q 1.186 -> 0.93 (-21.6 %)``."""
        was, now = shown(self.was, self.now)
        return f"{self.name} {was} -> {now}{self.percent}"

    @property
    def percent(self) -> str:
        """The relative change in words, `` (-21.6 %)``; empty where it is not defined."""
        return "" if not self.share else f" ({100 * self.share:+.3g} %)"

    def _limits(self, was: float) -> tuple[float, float]:
        return was * (1.0 - self.tolerance), was * (1.0 + self.tolerance)

    def _holds(self, was: float, now: float) -> bool:
        low, high = self._limits(was)
        not_less, not_more = now >= low, now <= high
        sides = {"more": not_less, "less": not_more, "neither": not_less and not_more}
        return sides[self.metric.better]


def changes(was: Numbers, now: Numbers, tolerances: Shares) -> tuple[Change, ...]:
    """The changes of all numbers of a layer that were recorded or measured, in the order of ``METRICS``.

    Args:
        was: the recorded numbers.
        now: the measured numbers.
        tolerances: the tolerance of every metric.
    """
    return tuple(
        Change(name, was.get(name), now.get(name), tolerances.of(name))
        for name in sorted({**was, **now}, key=by_metric)
    )


def read_tolerances(given: Allowed | None, *, resolution: float = 0.0) -> Shares:
    """Read the tolerance of every metric.

    Args:
        given: one number for all metrics that are not counts, or numbers by name; None: the defaults.
        resolution: the relative precision of recorded numbers; counts are exact.

    Raises:
        OptionError: a metric is not known, or a tolerance is not accepted.
    """
    if isinstance(given, Mapping):
        names = recorded_names()
        if unknown := [str(name) for name in given if name not in names]:
            raise OptionError(
                f"tolerance names {unknown[0]!r}: give numbers for {', '.join(names)}"
            )
        asked = {name: _tolerance(name, value) for name, value in given.items()}
    elif given is None:
        asked = {}
    else:
        value = _tolerance("tolerance", given)
        asked = {metric.name: value for metric in recorded() if not metric.counted}
    return Shares({one.name: _share(one, asked, resolution) for one in recorded()})


def recorded_names() -> tuple[str, ...]:
    """The names that tolerances are given by."""
    return tuple(metric.name for metric in recorded())


def named_by_metric(given: object) -> bool:
    """Whether tolerances are named by metrics, and by no layers.

    Example:
        >>> named_by_metric({"margin_q": 0.1}), named_by_metric({"norm": 0.1}), named_by_metric(0.1)
        (True, False, False)
    """
    return isinstance(given, Mapping) and all(name in recorded_names() for name in given)


def label_depth(label: str) -> tuple[int, int, str]:
    """Sorts labels of layers shallow first, ``norm`` and ``head`` last, rounded after plain states."""
    name = label.partition(" ")[0]
    last = ("norm", HEAD)
    return last.index(name) + 1 if name in last else 0, len(name), label


def shown(was: float | None, now: float | None) -> tuple[str, str]:
    """Both numbers with enough digits to look different if they differ; ``none`` for a missing one."""
    if was is None or now is None:
        return tuple("none" if one is None else show(one) for one in (was, now))  # type: ignore[return-value] # two
    return show_apart(was, now)


def worst_first(every: Iterable[Change]) -> list[Change]:
    """Sort changes, those furthest in the bad direction first."""
    return sorted(every, key=lambda change: -change.harm)


def _share(metric: Metric, asked: Mapping[str, float], resolution: float) -> float:
    """The share of a metric, no smaller than the record's precision unless the metric is a count."""
    finest = 0.0 if metric.counted else resolution
    return max(asked.get(metric.name, metric.tolerance or 0.0), finest)


def _tolerance(name: str, given: object) -> float:
    try:
        number = float(given) if isinstance(given, Real) else math.nan
    except OverflowError:  # an integer beyond all floats
        number = math.inf
    if not 0.0 <= number < math.inf or isinstance(given, bool):
        raise OptionError(
            f"{name}={given!r} is no tolerance: give a share of the recorded number, such as 0.01"
        )
    return number
