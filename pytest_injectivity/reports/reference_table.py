"""A model beside its parent as a table: one row a layer, the worst of each number marked."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.text import number_of
from pytest_injectivity.reports.table import Cell, Column, Table, worst_of
from pytest_injectivity.results.changes import label_depth
from pytest_injectivity.results.summary import Comparison, Estimate, NextToken

_LEGEND = (
    "against the parent: share kept of m (separation margin) and α (co-Lipschitz constant), 1 %"
    " quantiles, with the interval at 95 %; /norm over each model's mean norm; new pairs that collide"
    " in the model only; weights ||W - W'|| / ||W'||, W' the parent's: the worst tensor; block: what it"
    " makes of the parent's states, relative to what the parent's block adds to them; drift"
    " ||h - h'|| / ||h'||, h' the parent's: median, 99 %, largest; cosine: smallest; (rotated) states"
    " are the parent's in another basis, drift after the rotation; SipIt prompts recovered, model and"
    " parent; read: tokens that the parent reads, nearest candidate and ball; ◄ worst layer"
)
_DIGITS = 3


@dataclass(frozen=True)
class Shown:
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
    ordered = sorted(comparisons, key=lambda one: label_depth(one.layer))
    shown = [one for one in SHOWN if any(one.value(row) is not None for row in ordered)]
    worst = {one.title: _worst(one, ordered) for one in shown}
    rows = tuple(
        (
            Cell(row.layer + _turned(row) + _lost(row)),
            *(_cell(one, row, worst[one.title]) for one in shown),
        )
        for row in ordered
    )
    columns = (Column("layer", number=False), *(Column(one.title) for one in shown))
    return Table(columns, rows, notes=(_LEGEND,), marks=True)


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


def _ratio(title: str, part: Callable[[Comparison], Estimate | None]) -> Shown:
    return Shown(
        title,
        lambda one: _value(part(one)),
        lambda one: _with_interval(part(one)),
        lambda value: max(value, 1 / value) if value > 0 else float("inf"),
    )


def _rates(
    title: str,
    first: Callable[[Comparison], Estimate | None],
    second: Callable[[Comparison], Estimate | None],
) -> Shown:
    def shown(one: Comparison) -> str:
        return "/".join(_short(_value(part(one))) for part in (first, second))

    return Shown(title, lambda one: _value(first(one)), shown)


def _largest(value: float) -> float:
    return value


def _smallest(value: float) -> float:
    return -value


SHOWN = (
    _ratio("m kept", lambda one: one.margin),
    _ratio("m/norm kept", lambda one: one.normalized_margin),
    _ratio("α kept", lambda one: one.colipschitz),
    _ratio("α/norm kept", lambda one: one.normalized_colipschitz),
    Shown("new", lambda one: one.new_collisions, None, _largest),
    Shown("weights", lambda one: one.weight_error, None, _largest),
    Shown("block", lambda one: one.block_error, None, _largest),
    Shown("drift", lambda one: one.drift_median, None, _largest),
    Shown("99 %", lambda one: one.drift_q99, None, _largest),
    Shown("max", lambda one: one.drift_max, None, _largest),
    Shown("cosine", lambda one: one.cosine_min, None, _smallest),
    Shown("resol.", lambda one: one.resolution),
    Shown("parent's", lambda one: one.reference_resolution),
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


def _worst(column: Shown, ordered: list[Comparison]) -> float | None:
    values = {value for one in ordered if (value := column.value(one)) is not None}
    if column.badness is None or len(values) < 2:  # noqa: PLR2004 - equal values have no worst
        return None
    return max(values, key=column.badness)


def _cell(column: Shown, one: Comparison, worst: float | None) -> Cell:
    value = column.value(one)
    shown = column.shown(one) if column.shown else _short(value)
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
