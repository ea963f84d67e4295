"""Figures of a track: maps of all layers over the runs, lines of single numbers with their bounds."""

from collections.abc import Iterator, Mapping, Sequence

from pytest_injectivity.core.numbers import show
from pytest_injectivity.reports.page.charts import (
    Figure,
    HeatCell,
    HeatMap,
    LineChart,
    Point,
    Series,
)
from pytest_injectivity.reports.page.overview import SHADES
from pytest_injectivity.results.changes import label_depth
from pytest_injectivity.results.history.course import Course, CourseFate, Held
from pytest_injectivity.results.history.history import Findings
from pytest_injectivity.results.history.past_run import LARGEST, Judged, PastModel
from pytest_injectivity.results.history.track import Track
from pytest_injectivity.results.metrics import METRICS, metric_of, title_of
from pytest_injectivity.results.verdict import WORST_FIRST, Status

MOST_LINES = 60
"""Charts of single numbers that a track has at most; its maps have all numbers."""

_SPREAD = 6
_DIGITS, _COMMIT = 4, 7
_MAIN = ("margin_q", "colipschitz_q", "mean_norm")
_BOUNDED = {
    "margin_above": ("margin", "margin_q", "normalized_margin", "normalized_margin_q"),
    "colipschitz_above": (
        "colipschitz",
        "colipschitz_q",
        "normalized_colipschitz",
        "normalized_colipschitz_q",
    ),
    "metric_bounded": tuple(one.name for one in METRICS if not one.rungs),
}

Bounds = Mapping[tuple[str, str], tuple[float | None, ...]]
"""Bounds of gates by layer and number, one a run."""


def maps(findings: Findings) -> tuple[Figure, ...]:
    """A map of the verdicts, and one for each number, layers down and runs across."""
    every: dict[str, list[Course]] = {}
    for one in findings.courses:
        every.setdefault(one.number, []).append(one)
    labels = runs(findings.track)
    drawn = [_map(number, found, labels) for number, found in every.items() if _says(found)]
    verdicts = _verdicts(findings.track, labels)
    return (*verdicts, *drawn)


def lines(findings: Findings) -> tuple[tuple[Figure, ...], int]:
    """Charts of numbers that moved, that have a bound and of some layers; how many are left out."""
    labels, bounds = runs(findings.track), _bounds(findings.track)
    every = {(one.label, one.number): one for one in findings.courses}
    moved = [
        one
        for one in findings.courses
        if one.fate in (CourseFate.DRIFTED, CourseFate.GONE, CourseFate.BETTER)
    ]
    bounded = [
        every.get(key) or _derived(findings.track, *key)
        for key in sorted(bounds, key=lambda key: label_depth(key[0]))
    ]
    some = set(_spread(list(dict.fromkeys(one.label for one in findings.courses))))
    usual = [one for one in findings.courses if one.label in some and one.number in _MAIN]
    chosen = {(one.label, one.number): one for one in (*moved, *bounded, *usual)}
    shown = list(chosen.values())[:MOST_LINES]
    charts = tuple(_chart(one, labels, bounds.get((one.label, one.number))) for one in shown)
    return charts, len(chosen) - len(shown)


def runs(track: Track) -> tuple[str, ...]:
    """The names of the runs on an axis: the commit, or month and day where there is none."""
    origins = [run.origin for run in track.runs]
    return tuple(one.commit[:_COMMIT] if one.commit else one.short[5:] for one in origins)


def _says(found: Sequence[Course]) -> bool:
    return any(value for one in found for value in one.values)


def _map(number: str, found: Sequence[Course], labels: Sequence[str]) -> HeatMap:
    cells = tuple(tuple(_cell(one, value) for value in one.values) for one in found)
    metric = metric_of(number)
    rung = number.partition(" ")[2]
    meaning = f"{metric.meaning} {rung}".rstrip()
    caption = (
        f"{meaning[:1].upper()}{meaning[1:]}: the darker, the further from the usual number of its"
        " layer; the two darkest shades are beyond what is allowed."
    )
    rows = tuple(one.label for one in found)
    return HeatMap(title_of(number), caption, "layer", "run", rows, tuple(labels), cells)


def _cell(course: Course, value: float | None) -> HeatCell:
    if value is None:
        return HeatCell("–", None)
    return HeatCell(show(value, _DIGITS), _level(value, course.usual))


def _level(value: float, usual: Held | None) -> int:
    """From 0 for the usual number to 4 for just allowed, 5 beyond it, 6 beyond twice of it."""
    if usual is None or value == usual.value:
        return 0
    away = abs(value - usual.value)
    if away > usual.allowed:
        return 6 if away > 2 * usual.allowed else 5
    return min(4, int(4 * away / usual.allowed))


def _verdicts(track: Track, labels: Sequence[str]) -> Iterator[HeatMap]:
    checks = sorted({check for model in track.models for check, _ in model.judged})
    if not checks:
        return
    cells = tuple(tuple(_joint(model, check) for model in track.models) for check in checks)
    caption = f"{SHADES} Of several layers the worst is shown."
    yield HeatMap("Verdicts", caption, "check", "run", tuple(checks), tuple(labels), cells)


def _joint(model: PastModel, check: str) -> HeatCell:
    """The worst status among the places that a check judged."""
    found = [one.status for (name, _), one in model.judged.items() if name == check]
    if not found:
        return HeatCell("–", None)
    worst = min(found, key=WORST_FIRST.index)
    bad = sum(status is not Status.PASS for status in found)
    return HeatCell.of(worst, f"{worst} ({bad} of {len(found)})" if bad else "")


def _chart(
    course: Course, labels: Sequence[str], bound: Sequence[float | None] | None
) -> LineChart:
    bad = course.fate is CourseFate.DRIFTED
    last = len(labels) - 1
    points = tuple(Point(value, bad=bad and at == last) for at, value in enumerate(course.values))
    series = [Series(course.number, points)]
    if course.usual is not None:
        series.append(_level_line("usual", course.usual.value, len(labels), "parent"))
        series += _limits(course, course.usual, len(labels))
    if bound is not None:
        series.append(Series("bound of the gate", tuple(map(Point, bound)), "bound"))
    known = [value for value in course.values if value is not None]
    metric = metric_of(course.number)
    caption = f"{metric.meaning[:1].upper()}{metric.meaning[1:]}, in {metric.unit}."
    title = f"{course.label}: {course.number}"
    base = min(known, default=0.0)
    return LineChart(title, caption, "run", tuple(labels), tuple(series), base)


def _limits(course: Course, usual: Held, number: int) -> Iterator[Series]:
    """How far the last number may be from the usual one, on the sides that are worse."""
    better = course.metric.better
    if better != "less":
        yield _level_line("lowest allowed", usual.value - usual.allowed, number, "dashed s1")
    if better != "more":
        yield _level_line("highest allowed", usual.value + usual.allowed, number, "dashed s3")


def _level_line(name: str, value: float, number: int, look: str) -> Series:
    return Series(name, (Point(value),) * number, look)


def _bounds(track: Track) -> Bounds:
    """The bounds that verdicts held numbers against: the number that was judged is the layer's own."""
    found: dict[tuple[str, str], list[float | None]] = {}
    for at, model in enumerate(track.models):
        for (check, where), judged in model.judged.items():
            number = _number(model, check.partition(" ")[0], where, judged)
            if number is not None and abs(judged.bound) <= LARGEST:
                found.setdefault((where, number), [None] * len(track.runs))[at] = judged.bound
    return {key: tuple(bounds) for key, bounds in found.items()}


def _number(model: PastModel, check: str, where: str, judged: Judged) -> str | None:
    numbers = {**model.layers.get(where, {}), **model.derived.get(where, {})}
    known = _BOUNDED.get(check, ())
    return next((name for name in known if numbers.get(name) == judged.value), None)


def _derived(track: Track, label: str, number: str) -> Course:
    values = tuple(
        {**model.layers.get(label, {}), **model.derived.get(label, {})}.get(number)
        for model in track.models
    )
    return Course(label, number, values)


def _spread(labels: Sequence[str]) -> list[str]:
    """A few layers, the first and the last among them."""
    if len(labels) <= _SPREAD:
        return list(labels)
    return [labels[round(at * (len(labels) - 1) / (_SPREAD - 1))] for at in range(_SPREAD)]
