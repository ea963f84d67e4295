"""Figures without a medium, each with the table that says the same in numbers."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pytest_injectivity.core.numbers import show
from pytest_injectivity.reports.table import MISSING, Cell, Column, Table
from pytest_injectivity.results.verdict import Status

_DIGITS = 4
_STATUSES = {Status.PASS: "good", Status.FAIL: "bad", Status.INSUFFICIENT: "unsure"}
_LAYER = re.compile(r"layer0*(\d+)")


class Figure(Protocol):
    """A figure of the page: `LineChart`, `Histogram`, `HeatMap` or `Scatter`."""

    @property
    def title(self) -> str:
        """Its heading."""

    @property
    def caption(self) -> str:
        """What is drawn, in a sentence; may be empty."""

    @property
    def table(self) -> Table:
        """The same numbers as a table."""


@dataclass(frozen=True)
class Point:
    """A number, with its interval where one is known.

    Attributes:
        value: the number; None where it was not measured.
        low, high: of the interval.
        bad: whether it is red.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    bad: bool = False

    @property
    def known(self) -> tuple[float, ...]:
        """The finite numbers of the point."""
        every = (self.value, self.low, self.high)
        return tuple(one for one in every if one is not None and math.isfinite(one))

    def __str__(self) -> str:
        if self.value is None:
            return MISSING
        if self.low is None or self.high is None:
            return show(self.value, _DIGITS)
        return (
            f"{show(self.value, _DIGITS)} [{show(self.low, _DIGITS)}, {show(self.high, _DIGITS)}]"
        )


@dataclass(frozen=True)
class Series:
    """A number along the axis.

    Attributes:
        name: in the legend and over its column of the table.
        points: one for each label of the chart.
        look: how it is drawn, a class of the style sheet: ``s0`` to ``s5`` tell models apart,
            ``parent`` and ``bound`` are lines to compare with, ``light`` stands behind, ``box0`` to
            ``box2`` are intervals without a line, the widest first.
        aside: whether the axis need not reach it: it is drawn where it is near the others.
    """

    name: str
    points: tuple[Point, ...]
    look: str = "s0"
    aside: bool = False

    @property
    def measured(self) -> bool:
        """Whether there is a number to draw."""
        return any(is_finite(one.value) for one in self.points)


@dataclass(frozen=True)
class LineChart:
    """Numbers of layers, positions or models, a line a series.

    Attributes:
        title, caption: as of every figure.
        axis: what the labels are.
        labels: along the axis.
        series: at least one.
        base: a number that the vertical axis shows whatever was measured.
    """

    title: str
    caption: str
    axis: str
    labels: tuple[str, ...]
    series: tuple[Series, ...]
    base: float = 0.0

    @property
    def table(self) -> Table:
        """A row a label, a column a series."""
        columns = (Column(self.axis, number=False), *(Column(one.name) for one in self.series))
        rows = tuple(
            (
                Cell(label),
                *(_cell(one.points[at]) for one in self.series),
            )
            for at, label in enumerate(self.labels)
        )
        return Table(columns, rows)


@dataclass(frozen=True)
class Bin:
    """A bar of a histogram.

    Attributes:
        low, high: what it counts lies between them; both 0: it is 0.
        count: how many there are.
    """

    low: float
    high: float
    count: int

    @property
    def name(self) -> str:
        """What it counts."""
        return f"{show(self.low, 3)} – {show(self.high, 3)}" if self.high else "0"


@dataclass(frozen=True)
class Mark:
    """A number that stands upright in a histogram.

    Attributes:
        name: in the legend.
        value: where it stands.
        look: as of a `Series`.
    """

    name: str
    value: float
    look: str


@dataclass(frozen=True)
class Histogram:
    """How many numbers lie where, over an axis on which equal steps are equal factors.

    Attributes:
        title, caption: as of every figure.
        axis: what the numbers are.
        up: what is counted.
        bins: at least one, in their order.
        marks: what they are compared with.
        look: of the bars.
    """

    title: str
    caption: str
    axis: str
    up: str
    bins: tuple[Bin, ...]
    marks: tuple[Mark, ...] = ()
    look: str = "s0"

    @property
    def table(self) -> Table:
        """A row a bar; the marks are its notes."""
        columns = (Column(self.axis, number=False), Column(self.up))
        rows = tuple((Cell(one.name), Cell(str(one.count))) for one in self.bins)
        notes = tuple(f"{one.name}: {show(one.value, _DIGITS)}" for one in self.marks)
        return Table(columns, rows, notes=notes)


@dataclass(frozen=True)
class HeatCell:
    """A cell of a heat map.

    Attributes:
        text: what it says in the table.
        level: how dark it is, from 0 (nothing) to 6; None where nothing was measured.
        status: ``good``, ``bad`` or ``unsure`` in place of a level; empty where it has one.
    """

    text: str
    level: int | None
    status: str = ""

    @classmethod
    def of(cls, status: Status, text: str = "") -> "HeatCell":
        """What a verdict says; its status where no text is given."""
        return cls(text or status, None, _STATUSES[status])

    @property
    def look(self) -> str:
        """A class of the style sheet, behind an ``h``."""
        return self.status or ("none" if self.level is None else str(self.level))


@dataclass(frozen=True)
class HeatMap:
    """Numbers over two axes.

    Attributes:
        title, caption: as of every figure.
        down, across: what the rows and the columns are.
        rows: the names of the rows.
        columns: the names of the columns.
        cells: by row and column.
    """

    title: str
    caption: str
    down: str
    across: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[HeatCell, ...], ...]

    @property
    def table(self) -> Table:
        """Turned over, so that layers go down as in every other table."""
        columns = (Column(self.across, number=False), *(Column(one) for one in self.rows))
        rows = tuple(
            (Cell(name), *(Cell(row[at].text) for row in self.cells))
            for at, name in enumerate(self.columns)
        )
        return Table(columns, rows)


@dataclass(frozen=True)
class Dot:
    """A point of a scatter plot.

    Attributes:
        name: of what it stands for.
        x, y: with their intervals.
        row: further cells of its row in the table.
        number: beside the point; None: its place among the points.
    """

    name: str
    x: Point
    y: Point
    row: tuple[str, ...] = ()
    number: int | None = None


@dataclass(frozen=True)
class Scatter:
    """Two numbers against each other; the points have numbers, which the table explains.

    Attributes:
        title, caption: as of every figure.
        across, up: what the axes are.
        dots: at least one.
        more: the headings of the further cells of a row.
        most, least: what is accepted of ``across`` at most and of ``up`` at least; None: not judged.
        of: what a point is.
        course: whether the points follow each other: a line joins them, on axes that fit them. Else
            both numbers are shares, in percent.
    """

    title: str
    caption: str
    across: str
    up: str
    dots: tuple[Dot, ...]
    more: tuple[str, ...] = ()
    most: float | None = None
    least: float | None = None
    of: str = field(default="release", kw_only=True)
    course: bool = field(default=False, kw_only=True)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The number of each point."""
        every = enumerate(self.dots, 1)
        return tuple(at if dot.number is None else dot.number for at, dot in every)

    @property
    def table(self) -> Table:
        """A row a point."""
        words = (Column("", number=False), Column(self.of, number=False))
        columns = (*words, *(Column(one) for one in (self.across, self.up, *self.more)))
        rows = tuple(
            tuple(map(Cell, (str(at), dot.name, str(dot.x), str(dot.y), *dot.row)))
            for at, dot in zip(self.numbers, self.dots, strict=True)
        )
        return Table(columns, rows)


def is_finite(value: float | None) -> bool:
    """Whether there is a number that can be drawn."""
    return value is not None and math.isfinite(value)


def short_label(label: str) -> str:
    """A layer's number without the word, where an axis is named already.

    >>> short_label("layer04"), short_label("norm")
    ('4', 'norm')
    """
    found = _LAYER.fullmatch(label)
    return found[1] if found else label


def share_level(share: float | None) -> int | None:
    """How dark a share between 0 and 1 is drawn: a step for each factor of ten.

    >>> [share_level(share) for share in (None, 0.0, 1e-9, 1e-3, 0.02, 1.0)]
    [None, 0, 1, 3, 4, 6]
    """
    if share is None or not math.isfinite(share):
        return None
    if share <= 0.0:
        return 0
    return max(1, min(6, 6 + math.floor(math.log10(share))))


def drawn(figures: Sequence[Figure | None]) -> tuple[Figure, ...]:
    """The figures that there is something to draw of."""
    return tuple(one for one in figures if one is not None)


def _cell(point: Point) -> Cell:
    return Cell(str(point), tone="bad" if point.bad else "")
