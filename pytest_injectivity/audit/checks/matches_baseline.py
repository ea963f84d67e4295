"""Judges whether a layer's numbers are no worse than those recorded in the baseline."""

import shlex
from collections.abc import Mapping, Sequence

from pytest_injectivity.audit.baseline_files import environment
from pytest_injectivity.audit.judging.base import Audited, by_layer
from pytest_injectivity.core.layers import Layer, LayerSpec, layer_id
from pytest_injectivity.core.numbers import show, show_apart
from pytest_injectivity.core.text import number_of, verb
from pytest_injectivity.core.tolerances import PerLayer
from pytest_injectivity.errors import OptionError
from pytest_injectivity.quantization.grid import Grid, GridLike
from pytest_injectivity.results.changes import (
    Allowed,
    Change,
    Fate,
    Numbers,
    Shares,
    changes,
    named_by_metric,
    read_tolerances,
    recorded_names,
    shown,
    worst_first,
)
from pytest_injectivity.results.saved_runs import (
    RESOLUTION,
    Recorded,
    label_of,
    numbers_of,
    read_baseline,
)
from pytest_injectivity.results.summary import LayerSummary
from pytest_injectivity.results.verdict import Reason, Status, Verdict


def check_matches_baseline(
    audit: "Audited",
    layer: LayerSpec | None = None,
    *,
    tolerance: PerLayer[Allowed] | None = None,
    bits: GridLike | None = None,
) -> Verdict:
    """No number of a layer is worse than the baseline in ``--injx-baseline`` by its tolerance.

    A layer that the baseline does not have fails, and so does a missing baseline. Numbers that
    are better by more than the tolerance pass and are announced: the baseline is stale.

    Args:
        audit: the audit whose model is judged.
        layer: the layers judged.
        tolerance: a share of the recorded number, for all metrics that are not counts, or shares
            by the name of a metric; one for all layers or by layer. None: the defaults in
            ``results.metrics.METRICS``.
        bits: round the captured states to so many bits first, or to a `Grid` as text.

    Raises:
        LayerError: the model has no such layer.
        OptionError: no baseline is named, it is damaged or of another N, prompt set, metric,
            seed, dtype or model, or a tolerance or bits are not accepted.

    Example:
        >>> audit.check_matches_baseline(-1)
        Traceback (most recent call last):
        pytest_injectivity.errors.OptionError: no baseline is named: ...
    """
    tolerances = by_layer(audit, "tolerance", _tolerances(tolerance), layer)
    measured, baseline = audit.measurements, audit.baseline
    if measured.target.config.update_baseline:
        # A file that is no baseline is refused before the work, because it would not be overwritten.
        read_baseline(baseline.path)
        summaries = [measured.layer_summary(one, bits) for one in tolerances]
        numbers = {label_of(*one.key): numbers_of(one) for one in summaries}
        baseline.to_record.update(numbers)
        recording = zip(summaries, numbers.values(), strict=True)
        reasons = [judge_recording(one, own) for one, own in recording]
        return audit.verdict("matches_baseline", reasons)
    if baseline.recorded is None:
        missing = unrecorded_file([layer_id(one) for one in tolerances])
        return audit.verdict("matches_baseline", missing, _how_to_record(audit))
    return _judged_by(audit, baseline.recorded, tolerances, bits)


def _judged_by(
    audit: "Audited", recorded: Recorded, tolerances: Mapping[Layer, Shares], bits: GridLike | None
) -> Verdict:
    reasons, stale = [], []
    for one, allowed in tolerances.items():
        layer = audit.measurements.layer_summary(one, bits)
        label = label_of(*layer.key)
        reason, better = judge_recorded(
            layer, recorded.layers.get(label), numbers_of(layer), allowed
        )
        reasons.append(reason)
        stale += [f"{label} {change.words}" for change in better]
    baseline = audit.baseline
    notes = [f"recorded with {line}" for line in environment(recorded.stamp, baseline.stamp)]
    if stale:
        notes.append(
            f"stale baseline {baseline.path}: better than recorded: {'; '.join(stale)};"
            " record it with --injx-update-baseline"
        )
        audit.measurements.target.watcher.announce(notes[-1])
    return audit.verdict("matches_baseline", reasons, notes)


def _how_to_record(audit: "Audited") -> tuple[str, ...]:
    """Name the command that records the whole file of tests: one test alone would record one layer."""
    target = audit.measurements.target
    named = [one.partition("::")[0] for one in shlex.split(target.where)]
    file = f"{shlex.join(named)} " if named else ""
    return (
        f"there is no {audit.baseline.path}, and nothing was written",
        f"to make it: pytest {file}{target.command_line} --injx-update-baseline",
    )


def _tolerances(given: PerLayer[Allowed] | None) -> PerLayer[Shares]:
    """The tolerance of every metric, for all layers or by layer, as it was given."""
    if not isinstance(given, Mapping) or named_by_metric(given):
        return read_tolerances(given, resolution=RESOLUTION)  # type: ignore[arg-type] # metrics' names
    if any(name in recorded_names() for name in given):
        raise OptionError(
            f"tolerance={dict(given)!r} names layers beside metrics: give shares by metric, or by"
            ' layer such as {":3": 0.05, "norm": {"margin_q": 0.1}}'
        )
    return {spec: read_tolerances(one, resolution=RESOLUTION) for spec, one in given.items()}


def judge_recorded(
    layer: LayerSummary, was: Numbers | None, now: Numbers, tolerances: Shares
) -> tuple[Reason, tuple[Change, ...]]:
    """The reason a layer contributes to ``matches_baseline``, and the numbers better than recorded.

    Args:
        layer: the layer's summary, as measured.
        was: the layer's numbers in the baseline; None where the baseline lacks it.
        now: the layer's numbers as measured.
        tolerances: the tolerance of every metric.
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
    """The reason of a layer being recorded, which fails where one of its numbers is not finite."""
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
            f"{number_of(len(now), 'number')} to be recorded"
            if whole
            else (
                f"not recorded: {number_of(layer.not_finite, 'row')}"
                f" {verb(layer.not_finite, 'is', 'are')} not finite"
            )
        ),
    )


def unrecorded_file(layers: Sequence[str]) -> list[Reason]:
    """The failing reasons of layers where there is no baseline file."""
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
    """The reason of a layer: `first` is the number it is judged by, `worse` its evidence."""
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
    """The text on which tolerances would pass, or on a number that no tolerance would pass."""
    if not worse:
        return ""
    needed: dict[str, float] = {}
    for change in worse:
        if change.needed is None:
            return f"no tolerance: {change.words}"
        name = change.metric.name
        needed[name] = max(needed.get(name, 0.0), change.needed)
    return f"tolerance={needed!r}"
