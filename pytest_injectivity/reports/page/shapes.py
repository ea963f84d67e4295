"""Figures drawn: shapes with coordinates, which the template writes as SVG.

A series is three shapes whatever the number of its points: one path for the line, one for the points
(round ends of strokes without length), one for the intervals. Colors are classes of the style sheet.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_injectivity.core.numbers import show
from pytest_injectivity.reports.page.charts import (
    Figure,
    HeatMap,
    Histogram,
    LineChart,
    Point,
    Scatter,
    Series,
    is_finite,
    short_label,
)
from pytest_injectivity.reports.page.scales import Scale, decades, scale

_WIDE, _HIGH = 340, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 8, 32
_ZEROS = 12  # of a logarithmic axis
_BAND = 16.0  # of a histogram's zeros
_LABELS = 9
_ROW, _NAMES = 20, 70
_HIGHEST, _BETWEEN = 240, 14  # of a map, and of two names beside it
_LETTER = 6.0  # how wide a character of a label is, about
_LONGEST_NAME = 22
_MANY = 20  # labels of a chart whose points are small
_INNERMOST = "box2"
_APART, _LINE = 60, 11  # between labels of a scatter plot, across and down
_BESIDE, _EVERY = 16, 5  # labels of a course: how far apart, and at which of its numbers
_SPARSE = 16  # columns of a heat map whose cells are apart


@dataclass(frozen=True)
class Shape:
    """An element of an SVG picture.

    Attributes:
        tag: its name.
        attributes: names and values.
        text: in it.
    """

    tag: str
    attributes: tuple[tuple[str, str], ...]
    text: str = ""


@dataclass(frozen=True)
class Picture:
    """A figure that is drawn.

    Attributes:
        width, height: of its coordinates.
        shapes: from back to front.
        legend: the looks and names of its series, where there are several.
    """

    width: float
    height: float
    shapes: tuple[Shape, ...]
    legend: tuple[tuple[str, str], ...] = ()


def picture(figure: Figure) -> Picture:
    """Draw a figure."""
    if isinstance(figure, HeatMap):
        return _heat_map(figure)
    if isinstance(figure, Scatter):
        return _scatter(figure)
    if isinstance(figure, Histogram):
        return _histogram(figure)
    if isinstance(figure, LineChart):
        return _line_chart(figure)
    raise TypeError(
        f"{type(figure).__name__} is no figure: give a LineChart, Histogram, HeatMap or Scatter"
    )


def _line_chart(chart: LineChart) -> Picture:
    reached = [series for series in chart.series if not series.aside]
    values = [x for series in reached for point in series.points for x in point.known]
    up = scale(values, _HIGH - _BOTTOM, _TOP, base=chart.base, band=_ZEROS)
    places = _places(len(chart.labels), _LEFT, _WIDE - _RIGHT)
    shapes = [*_vertical(up), *_labels(chart.labels, places, _HIGH - _BOTTOM + 14)]
    shapes.append(_words((_LEFT + _WIDE - _RIGHT) / 2, _HIGH - 4, chart.axis, "axis middle"))
    for series in chart.series:
        shapes += _series(series, places, up)
    legend = tuple((one.look, one.name) for one in chart.series) if len(chart.series) > 1 else ()
    return Picture(_WIDE, _HIGH, tuple(shapes), legend)


def _series(series: Series, places: Sequence[float], up: Scale) -> Iterator[Shape]:
    drawn = [
        (at, x, up.at(point.value), point)
        for at, (x, point) in enumerate(zip(places, series.points, strict=True))
        if point.value is not None
        and math.isfinite(point.value)
        and not (series.aside and not up.reaches(point.value))
    ]
    if not drawn:
        return
    line = ""
    before = -2
    for at, x, y, _ in drawn:
        line += f"{'L' if at == before + 1 else 'M'}{x:.1f} {y:.1f}"
        before = at
    boxes = series.look.startswith("box")
    if not boxes:
        yield _path(line, f"line {series.look}")
    if series.look == "bound":
        return
    bars = "".join(
        f"M{x:.1f} {up.at(point.low):.1f}V{up.at(point.high):.1f}"
        for _, x, _, point in drawn
        if point.low is not None and point.high is not None and len(point.known) > 2  # noqa: PLR2004
    )
    if bars:
        yield _path(bars, f"bars {series.look}")
    if boxes and series.look != _INNERMOST:
        return
    many = " many" if len(places) > _MANY else ""
    for bad in (False, True):
        dots = "".join(f"M{x:.1f} {y:.1f}h0" for _, x, y, point in drawn if point.bad is bad)
        if dots:
            yield _path(dots, f"dots {series.look}{' bad' if bad else ''}{many}")


def _histogram(chart: Histogram) -> Picture:
    """A path for all bars; what they are compared with stands upright among them."""
    up = scale([float(one.count) for one in chart.bins], _HIGH - _BOTTOM, _TOP, even=True)
    positive = [end for one in chart.bins if one.high for end in (one.low, one.high)]
    zero = any(not one.high for one in chart.bins)
    across = decades(
        positive, [one.value for one in chart.marks], _LEFT, _WIDE - _RIGHT, _BAND if zero else 0.0
    )
    bars, floor = "", up.at(0.0)
    for one in chart.bins:
        x = across.at(one.low)
        # Bars are a little apart; that of zeros is as wide as its place.
        wide = across.at(one.high) - x - 1.0 if one.high else _BAND - 4.0
        bars += f"M{x:.1f} {floor:.1f}V{up.at(one.count):.1f}h{max(wide, 1.0):.1f}V{floor:.1f}z"
    shapes = [*_vertical(up), _path(bars, f"area {chart.look}")]
    for mark in chart.marks:
        if across.reaches(mark.value):
            x = across.at(mark.value)
            shapes.append(_path(f"M{x:.1f} {_HIGH - _BOTTOM}V{_TOP}", f"line {mark.look}"))
    shapes += [_words(x, _HIGH - _BOTTOM + 14, text, "axis middle") for x, text in across.ticks]
    axis = f"{chart.up} by {chart.axis}"
    shapes.append(_words((_LEFT + _WIDE - _RIGHT) / 2, _HIGH - 4, axis, "axis middle"))
    legend = tuple((mark.look, f"{mark.name} {show(mark.value, 3)}") for mark in chart.marks)
    return Picture(_WIDE, _HIGH, tuple(shapes), legend)


def _heat_map(chart: HeatMap) -> Picture:
    """A path for each shade; of many columns neighbors of one shade are one rectangle."""
    rows = [short_label(one) for one in chart.rows]
    longest = max(map(len, rows))
    left = min(max(_NAMES, _LETTER * longest + 10), _LETTER * _LONGEST_NAME + 10)
    high = min(_ROW, _HIGHEST / len(rows))
    bottom = _TOP + high * len(rows)
    places = _places(len(chart.columns), left, _WIDE - _RIGHT)
    width = (_WIDE - _RIGHT - left) / len(chart.columns)
    sparse = len(chart.columns) <= _SPARSE
    paths: dict[str, str] = {}
    for down, cells in enumerate(chart.cells):
        for first, last in _runs([cell.look for cell in cells], together=not sparse):
            look = cells[first].look
            x, y = places[first] - width / 2, _TOP + high * down
            wide = width * (last - first + 1) - sparse
            tall = high - (high == _ROW)
            path = f"M{x:.1f} {y:.1f}h{wide:.1f}v{tall:.1f}h{-wide:.1f}z"
            paths[look] = paths.get(look, "") + path
    shapes = [_path(path, f"heat h{look}") for look, path in sorted(paths.items())]
    shapes += _labels(chart.columns, places, bottom + 14)
    every = math.ceil(_BETWEEN / high)
    for down in range(0, len(rows), every):
        y = _TOP + high * (down + 0.5) + 4
        shapes.append(_words(left - 6, y, _shortened(rows[down]), "axis end"))
    if len(rows) > 1 and chart.down == "layer":
        shapes.append(_words(0, _TOP + 8, chart.down, "axis"))
    height = bottom + _BOTTOM
    shapes.append(_words((left + _WIDE - _RIGHT) / 2, height - 4, chart.across, "axis middle"))
    return Picture(_WIDE, round(height), tuple(shapes))


def _runs(looks: Sequence[str], *, together: bool) -> Iterator[tuple[int, int]]:
    """The first and the last of neighbors that are alike; each alone where they are kept apart."""
    first = 0
    for at, look in enumerate(looks):
        ends = at + 1 == len(looks) or looks[at + 1] != look
        if ends or not together:
            yield first, at
            first = at + 1


def _shortened(name: str) -> str:
    """A name that fits beside a map: strengths and places stand at its end."""
    if len(name) <= _LONGEST_NAME:
        return name
    half = _LONGEST_NAME // 2
    return f"{name[:half]}…{name[half - _LONGEST_NAME + 1 :]}"


def _scatter(chart: Scatter) -> Picture:
    side = 240
    bottom = side - _BOTTOM
    across, up = _axes(chart, bottom)
    shapes = [*_accepted(chart, across, up), *_vertical(up)]
    shapes += [_words(x, bottom + 14, text, "axis middle") for x, text in across.ticks]
    shapes.append(_words((_LEFT + _WIDE) / 2, side - 4, f"{chart.across} →", "axis middle"))
    shapes.append(_words(_LEFT, _TOP + 4, f"↑ {chart.up}", "axis"))
    points = [
        (across.at(dot.x.value or 0.0), up.at(dot.y.value or 0.0), at, dot)
        for at, dot in zip(chart.numbers, chart.dots, strict=True)
        if is_finite(dot.x.value) and is_finite(dot.y.value)
    ]
    if chart.course and points:
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y, *_ in points)
        shapes.append(_path(f"M{line}", "line light"))
    for x, y, _, dot in points:
        shapes += [_path(one, "bars s0") for one in _cross(dot.x, dot.y, (x, y), across, up)]
        shapes.append(_path(f"M{x:.1f} {y:.1f}h0", "dots s0"))
    places = [(x, y, at) for x, y, at, _ in points]
    for x, y, numbers in (_steps if chart.course else _labelled)(places):
        # Beside the point, and on the other side where the edge is near.
        beyond = x > _WIDE - 30
        look = "axis end strong" if beyond else "axis strong"
        aside = -5 if beyond else 5
        shapes.append(_words(x + aside, y - 5, _in_runs(numbers), look))
    return Picture(_WIDE, side, tuple(shapes))


def _axes(chart: Scatter, bottom: float) -> tuple[Scale, Scale]:
    """The axis across and the one up."""
    ends = (_LEFT, _WIDE - 2 * _RIGHT), (bottom, _TOP + 16)
    if not chart.course:
        across, up = (Scale(0.0, 100.0, start, end) for start, end in ends)
        return across, up
    rights = [one for dot in chart.dots for one in dot.x.known]
    heights = [one for dot in chart.dots for one in dot.y.known]
    return (
        scale(rights, *ends[0], base=min(rights, default=0.0)),
        scale(heights, *ends[1], base=min(heights, default=0.0)),
    )


def _steps(
    points: Sequence[tuple[float, float, int]],
) -> Iterator[tuple[float, float, list[int]]]:
    """Labels of a course: its ends, and of the rest every fifth that has room."""
    placed: list[tuple[float, float]] = []
    for x, y, number in (*points[:1], *points[:0:-1][:1], *points[1:-1]):
        end = number in {points[0][2], points[-1][2]}
        near = any(abs(x - one) < _BESIDE and abs(y - other) < _LINE for one, other in placed)
        if (end or number % _EVERY == 0) and not near:
            placed.append((x, y))
            yield x, y, [number]


def _labelled(
    points: Sequence[tuple[float, float, int]],
) -> Iterator[tuple[float, float, list[int]]]:
    """Where labels stand, and the numbers of each: those that would lie over each other are one."""
    groups: list[tuple[float, float, list[int]]] = []
    for x, y, number in sorted(points, key=lambda point: point[1]):
        near = (one for one in groups if abs(x - one[0]) < _APART and y - one[1] < _LINE)
        group = next(near, None)
        if group is None:
            groups.append((x, y, [number]))
        else:
            group[2].append(number)
    yield from groups


def _in_runs(numbers: Sequence[int]) -> str:
    """Numbers as a person lists them: ``1-4, 7``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    few = 2  # are listed
    return ", ".join(
        f"{run[0]}-{run[-1]}" if len(run) > few else ", ".join(map(str, run)) for run in runs
    )


def _accepted(chart: Scatter, across: Scale, up: Scale) -> Iterator[Shape]:
    """The bounds as lines, and the corner where both hold."""
    right = across.end if chart.most is None else across.at(chart.most)
    below = up.start if chart.least is None else up.at(chart.least)
    if chart.most is not None and chart.least is not None:
        path = f"M{across.start:.1f} {up.end:.1f}H{right:.1f}V{below:.1f}H{across.start:.1f}z"
        yield _path(path, "corner")
    if chart.most is not None:
        yield _path(f"M{right:.1f} {up.start:.1f}V{up.end:.1f}", "line bound")
    if chart.least is not None:
        yield _path(f"M{across.start:.1f} {below:.1f}H{across.end:.1f}", "line bound")


def _cross(
    right: Point, above: Point, at: tuple[float, float], across: Scale, up: Scale
) -> Iterator[str]:
    x, y = at
    if right.low is not None and right.high is not None:
        yield f"M{across.at(right.low):.1f} {y:.1f}H{across.at(right.high):.1f}"
    if above.low is not None and above.high is not None:
        yield f"M{x:.1f} {up.at(above.low):.1f}V{up.at(above.high):.1f}"


def _vertical(up: Scale) -> Iterator[Shape]:
    """The lines behind the numbers, and what they stand for."""
    for y, text in up.ticks:
        yield _path(f"M{_LEFT} {y:.1f}H{_WIDE - _RIGHT}", "grid")
        yield _words(_LEFT - 5, y + 3.5, text, "axis end")


def _labels(labels: Sequence[str], places: Sequence[float], y: float) -> Iterator[Shape]:
    """As many labels as there is room for: the first, the last, and some between."""
    shown = [short_label(one) for one in labels]
    room = (places[-1] - places[0]) / max(1, len(places) - 1) if len(places) > 1 else _WIDE
    longest = max(len(one) for one in shown[:-1] or shown)
    every = max(math.ceil(len(shown) / _LABELS), math.ceil((_LETTER * longest + 6) / room))
    last = len(shown) - 1
    free = max(0.6 * every, (_LETTER * (longest + len(shown[-1])) / 2 + 6) / room)
    for at, (text, x) in enumerate(zip(shown, places, strict=True)):
        if at == last or (at % every == 0 and last - at >= free):
            yield _words(x, y, text, "axis middle")


def _places(number: int, left: float, right: float) -> list[float]:
    return [left + (at + 0.5) * (right - left) / number for at in range(number)]


def _path(d: str, look: str) -> Shape:
    return Shape("path", (("d", d), ("class", look)))


def _words(x: float, y: float, text: str, look: str) -> Shape:
    return Shape("text", (*_numbers((("x", x), ("y", y))), ("class", look)), text)


def _numbers(given: Sequence[tuple[str, float]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, f"{value:.1f}") for name, value in given)
