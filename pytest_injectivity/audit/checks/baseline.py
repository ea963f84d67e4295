"""A layer's numbers held against those recorded of it, for ``matches_baseline``."""

from collections.abc import Sequence

from pytest_injectivity.core.numbers import show, show_apart
from pytest_injectivity.quantization.grid import Grid
from pytest_injectivity.results.changes import (
    Change,
    Fate,
    Numbers,
    Shares,
    changes,
    shown,
    worst_first,
)
from pytest_injectivity.results.saved_runs import label_of
from pytest_injectivity.results.summary import LayerSummary
from pytest_injectivity.results.verdict import Reason, Status


def judge_recorded(
    layer: LayerSummary, was: Numbers | None, now: Numbers, tolerances: Shares
) -> tuple[Reason, tuple[Change, ...]]:
    """The reason a layer contributes to ``matches_baseline``, and what is better than recorded.

    Args:
        layer: as measured.
        was: its numbers in the baseline; None where it is not in it.
        now: its numbers as measured.
        tolerances: of every metric.
    """
    if not was:
        return _unrecorded(layer), ()
    every = [one for one in changes(was, now, tolerances) if one.fate is not Fate.NEW]
    worse = [one for one in worst_first(every) if one.fate is Fate.WORSE]
    if not worse:
        reason = _reason(layer, worst_first(every)[0], Status.PASS, every)
        return reason, tuple(one for one in every if one.fate is Fate.BETTER)
    return _reason(layer, worse[0], Status.FAIL, every, worse), ()


def judge_recording(layer: LayerSummary, now: Numbers) -> Reason:
    """The reason of a layer that is being recorded: what is not finite would compare with nothing."""
    label = label_of(*layer.key)
    whole = not layer.not_finite and all(0.0 <= value < float("inf") for value in now.values())
    return Reason(
        where=layer.layer,
        status=Status.PASS if whole else Status.FAIL,
        quantity=f"numbers of {label}",
        value=float(layer.not_finite),
        bound=0.0,
        relation="<=",
        headline=(
            f"{len(now)} numbers to be recorded"
            if whole
            else f"not recorded: {layer.not_finite} rows are not finite"
        ),
    )


def unrecorded_file(layers: Sequence[str]) -> list[Reason]:
    """The reasons of layers where there is no baseline at all."""
    return [_failing(layer, "no baseline is recorded") for layer in layers]


def _unrecorded(layer: LayerSummary) -> Reason:
    label = label_of(*layer.key)
    return _failing(layer.layer, f"the baseline does not have {label}")


def _failing(layer: str, headline: str) -> Reason:
    return Reason(
        where=layer,
        status=Status.FAIL,
        quantity="numbers recorded",
        value=0.0,
        bound=1.0,
        relation=">=",
        headline=headline,
    )


def _reason(
    layer: LayerSummary,
    first: Change,
    status: Status,
    every: Sequence[Change],
    worse: Sequence[Change] = (),
) -> Reason:
    """The number that went farthest is the reason's; all that are worse are its evidence."""
    was, now = shown(first.was, first.now)
    rounded = "" if layer.bits is None else f" at {Grid.parse(layer.bits).words}"
    lost = first.now is None
    return Reason(
        where=layer.layer,
        status=status,
        quantity=f"{first.name}{rounded} was {was}, is",
        value=float("nan") if first.now is None else first.now,
        bound=first.bound,
        relation=first.relation,
        headline=f"{first.name}{rounded} was {was}, is {now}" if lost else "",
        evidence=tuple(_line(change) for change in worse),
        would_pass=_would_pass(worse),
        figures={f"{one.name}.{when}": value for one in every for when, value in _both(one)},
    )


def _both(change: Change) -> list[tuple[str, float]]:
    return [
        (when, value)
        for when, value in (("was", change.was), ("now", change.now))
        if value is not None
    ]


def _line(change: Change) -> str:
    if change.now is None:
        return f"{change.words}: it was recorded and cannot be measured any more"
    _, bound = show_apart(change.now, change.bound)
    return f"{change.words}, allowed {change.relation} {bound} (tolerance {show(change.tolerance)})"


def _would_pass(worse: Sequence[Change]) -> str:
    """The tolerances that pass, unless there is a number that none does for."""
    if not worse:
        return ""
    needed: dict[str, float] = {}
    for change in worse:
        if change.needed is None:
            return f"no tolerance: {change.words}"
        name = change.metric.name
        needed[name] = max(needed.get(name, 0.0), change.needed)
    return f"tolerance={needed!r}"
