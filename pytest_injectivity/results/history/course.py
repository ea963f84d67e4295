"""The course of one number over the runs of a track, and the rule that says whether it drifted.

The last run's number is held against two others: the usual one, which is the median of up to ten runs
before it, and the first one, the median of the first three. The usual number shows a jump, the first
one a creep that is too slow for the usual one to be left behind. A number has drifted where it differs
from either by more than

- 2 % of it (distances of half precision: 4 %; counts: 0; resolution and error: 200 %; shares of pairs:
  at least two pairs), and
- ``z`` times the noise of such a difference.

The noise is the median of the absolute steps from run to run, as a standard deviation of Gaussian
noise: neither a jump nor a creep makes it large. A number has the larger of its own noise and that of
its metric over all layers. ``z`` makes the chance of any false alarm in a track 1 % where steps are
noise, however many numbers it has.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from statistics import NormalDist, median

from pytest_injectivity.core.numbers import show_apart
from pytest_injectivity.results.changes import label_depth
from pytest_injectivity.results.history.track import ENOUGH, Track
from pytest_injectivity.results.metrics import Metric, by_metric, metric_of
from pytest_injectivity.results.saved_runs import Stamp

FLOOR = 0.02
"""The share of a number by which a change is none, however quiet the number is."""
HALF = 0.04
"""The same of distances in half precision: kernels alone make them differ by 1 to 4 %."""
WIDE = 2.0
"""The same of a resolution and an error, which machines measure twice as large as others."""
FALSE_ALARMS = 0.01
"""The chance that noise alone makes any number of a track drift, for Gaussian noise."""
BEFORE, FIRST = 10, 3
"""Runs whose median is the usual number, and runs whose median is the first one."""

_HALF = ("bfloat16", "float16")
_PAIRS = 2
_OFTEN = 1 / 3
_GAUSSIAN = 1.4826  # a standard deviation in units of the median absolute deviation
_APART = math.sqrt(1.5)  # noise of a run less a median of three, in units of a run's
_STEP = math.sqrt(2.0)  # noise of a step, likewise


class CourseFate(StrEnum):
    """What became of a number."""

    KEPT = "kept"
    DRIFTED = "drifted"
    BETTER = "better"
    GONE = "gone"
    NEW = "new"


@dataclass(frozen=True)
class Held:
    """What the last number is held against.

    Attributes:
        value: the number.
        allowed: how far the last number may be from it.
    """

    value: float
    allowed: float


@dataclass(frozen=True)
class Course:
    """One number of one layer over the runs.

    Attributes:
        label: of the layer.
        number: the number's name.
        values: one a run; None where a run did not measure it.
        usual: the usual number; None where too few runs before the last one have it.
        first: the first number, likewise.
    """

    label: str
    number: str
    values: tuple[float | None, ...]
    usual: Held | None = None
    first: Held | None = None

    @property
    def metric(self) -> Metric:
        """The metric that the number belongs to."""
        return metric_of(self.number)

    @property
    def last(self) -> float | None:
        """The last run's number."""
        return self.values[-1]

    @property
    def fate(self) -> CourseFate:
        """Whether it drifted; a number that most runs before the last one have may not be gone."""
        if self.last is None:
            window = self.values[-1 - BEFORE : -1]
            return CourseFate.GONE if 2 * len(_known(window)) > len(window) else CourseFate.NEW
        if self.usual is None or self.first is None:
            return CourseFate.NEW
        if max(self.harm(self.usual), self.harm(self.first)) > 0.0:
            return CourseFate.DRIFTED
        return CourseFate.BETTER if self._gain(self.usual) > 0.0 else CourseFate.KEPT

    @property
    def against(self) -> Held | None:
        """What the last number has drifted from: the usual number, or else the first one."""
        if self.usual is None or self.first is None or self.harm(self.usual) > 0.0:
            return self.usual
        return self.first if self.harm(self.first) > 0.0 else self.usual

    @property
    def share(self) -> float | None:
        """The relative change against the usual number; None where it is not defined."""
        if self.usual is None or self.last is None or not self.usual.value:
            return None
        return self.last / self.usual.value - 1.0

    @property
    def words(self) -> str:
        """What became of it, in words."""
        held = self.against
        if self.last is None or held is None:
            return f"{self.number}: the last run did not measure it"
        was, now = show_apart(held.value, self.last)
        what = "first runs" if held is self.first else "usual"
        share = f", {100 * (self.last / held.value - 1.0):+.3g} %" if held.value else ""
        return f"{self.number} {was} -> {now} (against the {what}{share}; allowed {_allowed(held)})"

    def harm(self, held: Held) -> float:
        """How far beyond the allowed the last number is worse; not positive where it is not."""
        if self.last is None:
            return 0.0
        change = self.last - held.value
        signed = {"more": -change, "less": change, "neither": abs(change)}[self.metric.better]
        return signed - held.allowed

    def _gain(self, held: Held) -> float:
        if self.last is None or self.metric.better == "neither":
            return 0.0
        return abs(self.last - held.value) - held.allowed


def courses(track: Track) -> tuple[Course, ...]:
    """The course of every number that a run of the track has, shallow layers first."""
    layers = [model.layers for model in track.models]
    labels = sorted({label for one in layers for label in one}, key=label_depth)
    found = []
    for label in labels:
        of_runs = [one.get(label, {}) for one in layers]
        names = sorted({name for one in of_runs for name in one}, key=by_metric)
        found += [Course(label, name, tuple(one.get(name) for one in of_runs)) for name in names]
    if not track.judged:
        return tuple(found)
    rule = _Rule(found, track.stamp)
    return tuple(rule.held(one) for one in found)


class _Rule:
    """Says what the last numbers of a track are held against."""

    def __init__(self, every: Sequence[Course], stamp: Stamp) -> None:
        names = dict.fromkeys(one.number for one in every)
        self._noise: Mapping[str, float] = {
            name: _pooled([one for one in every if one.number == name]) for name in names
        }
        self._pairs, self._dtype = stamp.n * (stamp.n - 1) / 2, stamp.dtype
        # Each is held against two, and a number that is better either way has two sides.
        self._z = NormalDist().inv_cdf(1.0 - FALSE_ALARMS / (4 * max(1, len(every))))

    def held(self, course: Course) -> Course:
        before = _known(course.values[:-1])
        if course.last is None or len(before) < ENOUGH - 1:
            return course
        held = [
            Held(value, self._allowed(course, value, before))
            for value in (median(before[-BEFORE:]), median(before[:FIRST]))
        ]
        return Course(course.label, course.number, course.values, *held)

    def _allowed(self, course: Course, value: float, before: Sequence[float]) -> float:
        metric = course.metric
        noise = _noise(_steps(before))
        if metric.counted:
            return self._z * _APART * noise
        noise = max(noise, self._noise[course.number] * value)
        few = _PAIRS / self._pairs if metric.rungs and self._pairs else 0.0
        return max(_floor(metric, self._dtype) * value, few, self._z * _APART * noise)


def _floor(metric: Metric, dtype: str) -> float:
    if metric.tolerance and metric.tolerance >= 1.0:
        return WIDE
    return HALF if dtype in _HALF and metric.better != "neither" else FLOOR


def _pooled(every: Sequence[Course]) -> float:
    """The noise of a number over all layers, as a share of it."""
    shares = [
        step / middle
        for one in every
        for before in [_known(one.values[:-1])]
        if before and (middle := median(before)) > 0.0
        for step in _steps(before)
    ]
    return _noise(shares)


def _noise(steps: Sequence[float]) -> float:
    """The standard deviation of a run whose steps to the next run are these.

    Runs on one machine have equal numbers: where at least a third of the steps are none, those that
    are none say nothing of the noise between machines. Where most are none, the others are jumps.
    """
    taken = [step for step in steps if step]
    if not taken or len(taken) < _OFTEN * len(steps):
        return 0.0
    return _GAUSSIAN * median(taken) / _STEP


def _steps(values: Sequence[float]) -> list[float]:
    return [abs(after - before) for before, after in pairwise(values)]


def _known(values: Sequence[float | None]) -> list[float]:
    return [one for one in values if one is not None]


def _allowed(held: Held) -> str:
    if not held.value:
        return f"{held.allowed:.3g}"
    return f"{100 * held.allowed / held.value:.3g} %"
