"""A model beside its parent as a table: one row a layer, the worst of each number marked."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from pytest_injectivity.core.numbers import show
from pytest_injectivity.results.changes import by_depth
from pytest_injectivity.results.summary import Comparison, Estimate

LEGEND = Text(
    "against the parent: share kept of m (separation margin) and α (co-Lipschitz constant), 1 %"
    " quantiles, with the interval at 95 %; /norm over each model's mean norm; new pairs that collide"
    " in the model only; drift ||h - h'|| / ||h'||, h' the parent's: median, 99 %, largest; cosine:"
    " smallest; SipIt prompts recovered, model and parent; read: tokens that the parent reads, nearest"
    " candidate and ball; ◄ worst layer",
    style="dim",
)
_DIGITS = 3


@dataclass(frozen=True)
class Column:
    """What is shown of a layer.

    Attributes:
        title: its heading.
        value: the number that the worst is told by; None where it was not measured.
        shown: how it is written; None: the number.
        badness: how bad a number is; None: no layer is the worst.
    """

    title: str
    value: Callable[[Comparison], float | None]
    shown: Callable[[Comparison], str] | None = None
    badness: Callable[[float], float] | None = None


def reference_table(comparisons: Iterable[Comparison]) -> Table:
    """One row a layer, shallow first; columns of what nobody asked for are left out."""
    ordered = sorted(comparisons, key=lambda one: by_depth(one.layer))
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    table.add_column("layer")
    columns = [
        column for column in COLUMNS if any(column.value(one) is not None for one in ordered)
    ]
    for column in columns:
        table.add_column(column.title, justify="right")
    worst = {column.title: _worst(column, ordered) for column in columns}
    for one in ordered:
        cells = [_cell(column, one, worst[column.title]) for column in columns]
        table.add_row(Text(one.layer + _lost(one)), *cells)
    return table


def _ratio(title: str, part: Callable[[Comparison], Estimate | None]) -> Column:
    return Column(
        title,
        lambda one: _value(part(one)),
        lambda one: _with_interval(part(one)),
        lambda value: max(value, 1 / value) if value > 0 else float("inf"),
    )


def _rates(
    title: str,
    first: Callable[[Comparison], Estimate | None],
    second: Callable[[Comparison], Estimate | None],
) -> Column:
    def shown(one: Comparison) -> str:
        return "/".join(_short(_value(part(one))) for part in (first, second))

    return Column(title, lambda one: _value(first(one)), shown)


def _largest(value: float) -> float:
    return value


def _smallest(value: float) -> float:
    return -value


COLUMNS = (
    _ratio("m kept", lambda one: one.margin),
    _ratio("m/norm kept", lambda one: one.normalized_margin),
    _ratio("α kept", lambda one: one.colipschitz),
    _ratio("α/norm kept", lambda one: one.normalized_colipschitz),
    Column("new", lambda one: one.new_collisions, None, _largest),
    Column("drift", lambda one: one.drift_median, None, _largest),
    Column("99 %", lambda one: one.drift_q99, None, _largest),
    Column("max", lambda one: one.drift_max, None, _largest),
    Column("cosine", lambda one: one.cosine_min, None, _smallest),
    Column("noise", lambda one: one.noise),
    Column("parent's", lambda one: one.reference_noise),
    _rates("SipIt", lambda one: one.sipit, lambda one: one.reference_sipit),
    _rates(
        "read",
        lambda one: None if one.cross is None else one.cross.argmin_tokens,
        lambda one: None if one.cross is None else one.cross.ball_tokens,
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


def _worst(column: Column, ordered: list[Comparison]) -> float | None:
    values = {value for one in ordered if (value := column.value(one)) is not None}
    if column.badness is None or len(values) < 2:  # noqa: PLR2004 - equal values have no worst
        return None
    return max(values, key=column.badness)


def _cell(column: Column, one: Comparison, worst: float | None) -> Text:
    value = column.value(one)
    shown = column.shown(one) if column.shown else _short(value)
    if value is not None and value == worst:
        # The mark is a character, not only a colour: logs have none.
        return Text(f"{shown}◄", style="bold red")
    return Text(f"{shown} ")


def _lost(one: Comparison) -> str:
    lost = [
        f"{count} {of}not finite"
        for count, of in ((one.not_finite, ""), (one.reference_not_finite, "of the parent "))
        if count
    ]
    return f" ({', '.join(lost)})" if lost else ""
