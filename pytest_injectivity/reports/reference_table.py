"""A model beside its parent as a table: one row a layer, the worst of each number marked."""

from collections.abc import Callable, Collection, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.text import number_of
from pytest_injectivity.reports.table import WORST, Cell, Column, Table, worst_of
from pytest_injectivity.results.changes import label_depth
from pytest_injectivity.results.summary import Comparison, Estimate, NextToken

_DIGITS = 3
_LATER = 6  # ranks that a column goes back whose checks are all green


@dataclass(frozen=True)
class ShownColumn:
    """What is shown of a layer.

    Attributes:
        title: its heading.
        meaning: what it is, for the legend.
        value: the number that the worst is told by; None where it was not measured.
        shown: how it is written; None: the number.
        badness: how bad a number is; None: no layer is the worst.
        judged_by: the checks that judge it.
        rank: where there is room for some columns only, those of the least rank are shown.
    """

    title: str
    meaning: str
    value: Callable[[Comparison], float | None]
    shown: Callable[[Comparison], str] | None = None
    badness: Callable[[float], float] | None = None
    judged_by: tuple[str, ...] = ()
    rank: int = 0

    def text(self, one: Comparison) -> str:
        """How the number is written, with its interval where it has one."""
        return self.shown(one) if self.shown else _short(self.value(one))


def reference_table(comparisons: Iterable[Comparison]) -> Table:
    """One row a layer, shallow first; columns of what nobody asked for are left out."""
    rows = _shallow_first(comparisons)
    shown = _measured(rows)
    return _table(rows, shown, {one.title for one in shown})


def fitting_table(
    comparisons: Iterable[Comparison], failed: AbstractSet[str], fits: Callable[[Table], bool]
) -> Table:
    """The table with as many columns as there is room for, those of what failed earlier.

    Numbers come before intervals. The last note says what was left out.

    Args:
        comparisons: at least one.
        failed: the names of checks that are not PASS.
        fits: whether there is room for a table.
    """
    rows = _shallow_first(comparisons)
    every = _measured(rows)
    by_rank = sorted(every, key=lambda one: one.rank + _LATER * failed.isdisjoint(one.judged_by))
    chosen: set[str] = set()
    for one in by_rank:
        if not chosen or fits(_table(rows, every, chosen | {one.title}, ())):
            chosen.add(one.title)
    intervals: set[str] = set()
    for one in by_rank:
        if one.title in chosen and fits(_table(rows, every, chosen, intervals | {one.title})):
            intervals.add(one.title)
    table = _table(rows, every, chosen, intervals)
    left = [one.title for one in every if one.title not in chosen]
    left += (
        ["intervals"]
        if any(_has_interval(one, rows) for one in every if one.title not in intervals)
        else []
    )
    if not left:
        return table
    note = f"no room for {', '.join(left)}: --injx-report=html:PATH has them"
    return replace(table, notes=(*table.notes, note))


def _shallow_first(comparisons: Iterable[Comparison]) -> list[Comparison]:
    return sorted(comparisons, key=lambda one: label_depth(one.layer))


def _measured(rows: list[Comparison]) -> list["ShownColumn"]:
    """The columns of what was measured of any layer."""
    return [one for one in SHOWN if any(one.value(row) is not None for row in rows)]


def _has_interval(one: "ShownColumn", rows: list[Comparison]) -> bool:
    return any("[" in one.text(row) for row in rows)


def _table(
    rows: list[Comparison],
    measured: list["ShownColumn"],
    titles: Collection[str],
    intervals: Collection[str] | None = None,
) -> Table:
    """Some of the columns; ``intervals`` names those with intervals, None: all."""
    shown = [one for one in measured if one.title in titles]
    worst = {one.title: _worst(one, rows) for one in shown}
    cells = tuple(
        (
            Cell(row.layer + _turned(row) + _lost(row)),
            *(
                _cell(one, row, worst[one.title], whole=intervals is None or one.title in intervals)
                for one in shown
            ),
        )
        for row in rows
    )
    columns = (Column("layer", number=False), *(Column(one.title) for one in shown))
    return Table(columns, cells, notes=(_legend(rows, shown, cells),), marks=True)


def _legend(
    rows: list[Comparison], shown: list["ShownColumn"], cells: tuple[tuple[Cell, ...], ...]
) -> str:
    """What the columns are, and what else a reader meets in the table."""
    parts = [f"{one.title}: {one.meaning}" for one in shown]
    if any("[" in cell.text for row in cells for cell in row):
        parts.append("[…]: interval at 95 %")
    if any(row.basis == "rotated" for row in rows):
        parts.append(
            "(rotated): states are the parent's in another basis, drift after the rotation"
        )
    return f"against the parent: {'; '.join([*parts, f'{WORST} worst layer'])}"


def next_token_line(found: NextToken) -> str:
    """How near next tokens are to the parent's, as one line."""
    where = f"{number_of(found.positions, 'position')} of {number_of(found.prompts, 'prompt')}"
    if found.second_half:
        where += " (second half of each)"
    if found.lost or found.reference_lost:
        counts = ((found.lost, ""), (found.reference_lost, " of the parent"))
        lost = [f"{count:,}{of}" for count, of in counts if count]
        return f"logits not finite at {', '.join(lost)} of {where}"
    numbers = [
        f"{words} {_short(_value(one))}"
        for words, one in (("99 %", found.kl_q99), ("99.9 %", found.kl_q999))
    ]
    return (
        f"KL(parent || model) {_with_interval(found.kl)}, {', '.join(numbers)}, largest"
        f" {_short(found.kl_max)}; top-1 agreement {_with_interval(found.top1)}; {where}"
    )


def _ratio(
    title: str,
    meaning: str,
    part: Callable[[Comparison], Estimate | None],
    judged_by: str,
    rank: int,
) -> ShownColumn:
    return ShownColumn(
        title,
        meaning,
        lambda one: _value(part(one)),
        lambda one: _with_interval(part(one)),
        lambda value: max(value, 1 / value) if value > 0 else float("inf"),
        (judged_by,),
        rank,
    )


def _rates(
    title: str,
    meaning: str,
    first: Callable[[Comparison], Estimate | None],
    second: Callable[[Comparison], Estimate | None],
    judged_by: str,
) -> ShownColumn:
    def shown(one: Comparison) -> str:
        return "/".join(_short(_value(part(one))) for part in (first, second))

    return ShownColumn(title, meaning, lambda one: _value(first(one)), shown, None, (judged_by,))


def _largest(value: float) -> float:
    return value


def _smallest(value: float) -> float:
    return -value


def _error(
    title: str,
    meaning: str,
    value: Callable[[Comparison], float | None],
    judged_by: str,
    rank: int,
    *,
    badness: Callable[[float], float] = _largest,
) -> ShownColumn:
    return ShownColumn(title, meaning, value, None, badness, (judged_by,), rank)


_MARGIN, _CONSTANT = "separation margin (1 % quantile)", "co-Lipschitz constant (1 % quantile)"
_DRIFT = "state_drift_below"

SHOWN = (
    _ratio("m kept", f"share kept of the {_MARGIN}", lambda one: one.margin, "margin_retained", 4),
    _ratio(
        "m/norm kept",
        "of the margin over the mean norm",
        lambda one: one.normalized_margin,
        "margin_retained",
        8,
    ),
    _ratio(
        "α kept",
        f"share kept of the {_CONSTANT}",
        lambda one: one.colipschitz,
        "colipschitz_retained",
        5,
    ),
    _ratio(
        "α/norm kept",
        "of the constant over the mean norm",
        lambda one: one.normalized_colipschitz,
        "colipschitz_retained",
        9,
    ),
    _error(
        "new",
        "pairs that collide in the model only",
        lambda one: one.new_collisions,
        "no_new_collisions",
        0,
    ),
    _error(
        "weights",
        "||W - W'|| / ||W'|| of the worst tensor, W' the parent's",
        lambda one: one.weight_error,
        "weight_error_below",
        2,
    ),
    _error(
        "block",
        "what the block makes of the parent's states, relative to what the parent's block adds",
        lambda one: one.block_error,
        "block_error_below",
        1,
    ),
    _error(
        "drift",
        "||h - h'|| / ||h'|| of states, h' the parent's: median",
        lambda one: one.drift_median,
        _DRIFT,
        7,
    ),
    _error("99 %", "drift of 99 % of the prompts", lambda one: one.drift_q99, _DRIFT, 3),
    _error("max", "largest drift", lambda one: one.drift_max, _DRIFT, 10),
    _error(
        "cosine",
        "smallest, of a state and the parent's",
        lambda one: one.cosine_min,
        _DRIFT,
        11,
        badness=_smallest,
    ),
    ShownColumn("resol.", "resolution of the model", lambda one: one.resolution, rank=12),
    ShownColumn(
        "parent's", "the parent's resolution", lambda one: one.reference_resolution, rank=13
    ),
    # Measured only where a test asks for it, so it is never what nobody wants to see.
    _rates(
        "SipIt",
        "share of prompts recovered, model/parent",
        lambda one: one.sipit,
        lambda one: one.reference_sipit,
        "sipit_recovers",
    ),
    _rates(
        "read",
        "share of tokens that the parent reads, nearest candidate/ball",
        lambda one: None if one.cross is None else one.cross.argmin_tokens,
        lambda one: None if one.cross is None else one.cross.ball_tokens,
        "not_read_by_reference",
    ),
)


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value


def _with_interval(estimate: Estimate | None) -> str:
    if estimate is None or estimate.value is None:
        return "–"
    if estimate.low is None or estimate.high is None:
        return _short(estimate.value)
    return f"{_short(estimate.value)} [{_short(estimate.low)}, {_short(estimate.high)}]"


def _short(value: float | None) -> str:
    return "–" if value is None else show(value, _DIGITS)


def _worst(column: ShownColumn, ordered: list[Comparison]) -> float | None:
    values = {value for one in ordered if (value := column.value(one)) is not None}
    if column.badness is None or len(values) < 2:  # noqa: PLR2004 - equal values have no worst
        return None
    return max(values, key=column.badness)


def _cell(column: ShownColumn, one: Comparison, worst: float | None, *, whole: bool) -> Cell:
    value, text = column.value(one), column.text(one)
    shown = text if whole else text.partition(" [")[0]
    return worst_of(shown, worst=value is not None and value == worst)


def _turned(one: Comparison) -> str:
    return " (rotated)" if one.basis == "rotated" else ""


def _lost(one: Comparison) -> str:
    lost = [
        f"{count} {of}not finite"
        for count, of in ((one.not_finite, ""), (one.reference_not_finite, "of the parent "))
        if count
    ]
    return f" ({', '.join(lost)})" if lost else ""
