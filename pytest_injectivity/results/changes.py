"""What was and what is: the numbers of a layer held against those recorded, metric by metric.

Every number of a recorded metric is judged in the direction in which it is bad. A tolerance is a
share of the recorded number: of a margin of 2, with 0.01, nothing under 1.98 passes. What is *better*
than recorded by as much, so that the record would fail if it were held against this run, passes and
is called stale: a gate that keeps old numbers lets a later fall back to them through.

Standard library only: comparing saved runs loads no torch.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from numbers import Real
from typing import TypeAlias

from pytest_injectivity.core.numbers import show, show_apart
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.metrics import Metric, by_metric, metric_of, recorded
from pytest_injectivity.results.verdict import Relation

Allowed: TypeAlias = float | Mapping[str, float]
"""One tolerance for every metric that is not a count, or tolerances by the metric's name."""

Numbers: TypeAlias = Mapping[str, float]
"""The numbers of a layer by name: a metric's, of near fractions with the rung (``… 0.01``)."""

_MANY = 1e4


@dataclass(frozen=True)
class Shares:
    """How much worse every metric may get, as a share of what was recorded.

    Attributes:
        by_metric: of each recorded metric, by name.
    """

    by_metric: Mapping[str, float]

    def of(self, name: str) -> float:
        """The share of a number."""
        return self.by_metric[metric_of(name).name]


class Fate(StrEnum):
    """What became of a number."""

    KEPT = "kept"
    WORSE = "worse"
    BETTER = "better"
    NEW = "new"


@dataclass(frozen=True)
class Change:
    """One number of one layer, as it was and as it is.

    Attributes:
        name: of the number.
        was: as recorded; None where it was not.
        now: as measured; None where it is not.
        tolerance: the share of ``was`` that it may be worse by.
    """

    name: str
    was: float | None
    now: float | None
    tolerance: float

    @property
    def metric(self) -> Metric:
        """Which metric it is."""
        return metric_of(self.name)

    @property
    def fate(self) -> Fate:
        """Worse beyond the tolerance, better beyond it, or neither; NaN is worse, and so is a loss."""
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
        """The worst number that passes; of a metric that may move neither way, on the side it went."""
        if self.was is None:
            return math.nan
        low, high = self._limits(self.was)
        return low if self.relation == ">=" else high

    @property
    def share(self) -> float | None:
        """The change as a share of what was: -0.1 is a tenth less; None where that says nothing."""
        if self.was is None or self.now is None or not self.was:
            return 0.0 if self.was == self.now == 0.0 else None
        share = self.now / self.was - 1.0
        return share if math.isfinite(share) else None

    @property
    def harm(self) -> float:
        """How far it went in the bad direction, as a share of what was; at least 0, for sorting."""
        if self.fate is Fate.NEW:
            return 0.0
        if self.share is None:
            return math.inf if self.fate is Fate.WORSE else 0.0
        signs = {"more": -self.share, "less": self.share, "neither": abs(self.share)}
        return max(0.0, signs[self.metric.better])

    @property
    def needed(self) -> float | None:
        """A tolerance that passes, the smallest of four decimals; None where none does."""
        if not self.was or self.share is None or not math.isfinite(self.harm * _MANY):
            return None
        needed = math.ceil(self.harm * _MANY) / _MANY
        # Rounding may leave the product a hair on the wrong side of the number.
        while Change(self.name, self.was, self.now, needed).fate is Fate.WORSE:
            needed = max(needed + 1 / _MANY, math.nextafter(needed, math.inf))
        return needed

    @property
    def words(self) -> str:
        """``margin_q 1.186 -> 0.93 (-21.6 %)``."""
        was, now = shown(self.was, self.now)
        return f"{self.name} {was} -> {now}{self.percent}"

    @property
    def percent(self) -> str:
        """`` (-21.6 %)``, or nothing where a share says nothing."""
        return "" if not self.share else f" ({100 * self.share:+.3g} %)"

    def _limits(self, was: float) -> tuple[float, float]:
        return was * (1.0 - self.tolerance), was * (1.0 + self.tolerance)

    def _holds(self, was: float, now: float) -> bool:
        low, high = self._limits(was)
        not_less, not_more = now >= low, now <= high
        sides = {"more": not_less, "less": not_more, "neither": not_less and not_more}
        return sides[self.metric.better]


def changes(was: Numbers, now: Numbers, tolerances: Shares) -> tuple[Change, ...]:
    """Every number of a layer that was recorded or measured, in the order of ``METRICS``.

    Args:
        was: as recorded.
        now: as measured.
        tolerances: of every metric.
    """
    return tuple(
        Change(name, was.get(name), now.get(name), tolerances.of(name))
        for name in sorted({**was, **now}, key=by_metric)
    )


def read_tolerances(given: Allowed | None, *, resolution: float = 0.0) -> Shares:
    """The tolerance of every metric.

    Args:
        given: one number for all that are no counts, or numbers by name; None: the defaults.
        resolution: the share of itself to which recorded numbers are known; counts are exact.

    Raises:
        OptionError: a metric is not there, or a tolerance is not accepted.
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


def by_depth(label: str) -> tuple[bool, int, str]:
    """Sorts labels of layers shallow first, ``norm`` last, rounded states after the plain ones."""
    name = label.partition(" ")[0]
    return name == "norm", len(name), label


def shown(was: float | None, now: float | None) -> tuple[str, str]:
    """Both numbers with enough digits to look different where they are; ``none`` for one that is not."""
    if was is None or now is None:
        return tuple("none" if one is None else show(one) for one in (was, now))  # type: ignore[return-value] # two
    return show_apart(was, now)


def worst_first(every: Iterable[Change]) -> list[Change]:
    """The changes, those furthest in the bad direction first."""
    return sorted(every, key=lambda change: -change.harm)


def _share(metric: Metric, asked: Mapping[str, float], resolution: float) -> float:
    """The share of a metric; never finer than the record is, but for counts, which are exact."""
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
