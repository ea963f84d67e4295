"""What is not PASS, put together: one group for each check of a model, worst news first."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_injectivity.core.text import number_of
from pytest_injectivity.reports.page.charts import LineChart, Point, Series, is_finite
from pytest_injectivity.results.changes import label_depth
from pytest_injectivity.results.run_results import RunResults
from pytest_injectivity.results.verdict import Reason, Status, Verdict

_FEWEST = 2  # layers of a figure
_MOST_NAMED = 12
_MOST_PAIRS = 60
_PAIR = re.compile(r"prompt \d+ .*\band prompt \d+ ")


@dataclass(frozen=True)
class Failure:
    """The verdicts of one check on one model of which some are not PASS.

    Attributes:
        check: its name.
        model: of the run; empty where it has one.
        status: FAIL, or INSUFFICIENT where none is FAIL.
        asserted: whether a test failed by it; else it was looked at only, or expected.
        judged: how many layers, releases or fields were judged.
        reasons: those that are not PASS, shallow first.
        ahead: lines on the cause.
        notes: lines that hold for all.
        reproduce: commands.
        chart: value, interval and bound by layer; None where there are no layers to draw.
        lines: first lines of verdicts without reasons.
    """

    check: str
    model: str
    status: Status
    asserted: bool
    judged: int
    reasons: tuple[Reason, ...]
    ahead: tuple[str, ...]
    notes: tuple[str, ...]
    reproduce: tuple[str, ...]
    chart: LineChart | None
    lines: tuple[str, ...] = ()

    @property
    def first(self) -> Reason | None:
        """The first bad layer, release or field."""
        return self.reasons[0] if self.reasons else None

    @property
    def others(self) -> str:
        """The names of the others, each once."""
        names = list(dict.fromkeys(one.where for one in self.reasons[1:]))
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        return ", ".join(names[:_MOST_NAMED]) + more

    @property
    def counted(self) -> str:
        """How much of what was judged is not PASS."""
        if not self.reasons:
            return "nothing was compared"
        what = number_of(self.judged, self.reasons[0].unit)
        return f"{len(self.reasons)} of {what} not PASS"


def failures(results: RunResults) -> tuple[Failure, ...]:
    """The groups, those that a test failed by first, then those that FAIL."""
    failed = [] if results.outcome is None else results.outcome.failed
    asserted = [verdict for test in failed for verdict in test.verdicts]
    groups: dict[tuple[str, str, str], list[Verdict]] = {}
    for verdict in results.verdicts:
        groups.setdefault((verdict.check, verdict.model, _quantity(verdict)), []).append(verdict)
    found = [
        _failure(verdicts, asserted)
        for verdicts in groups.values()
        if not all(one.passed for one in verdicts)
    ]
    return tuple(sorted(found, key=lambda one: (not one.asserted, one.status is not Status.FAIL)))


def first_bad_layer(found: Iterable[Failure]) -> tuple[str, str] | None:
    """The shallowest layer that is not PASS and the check that says so; asserted ones count first."""
    found = list(found)
    found = [one for one in found if one.asserted] or found
    layers = [
        (_depth(reason), reason.where, one)
        for one in found
        for reason in one.reasons
        if reason.unit == "layer"
    ]
    if not layers:
        return None
    _, where, one = min(layers, key=lambda layer: layer[0])
    return where, f"{one.check} of {one.model}" if one.model else one.check


def closest_pairs(verdicts: Iterable[Verdict]) -> tuple[tuple[str, str, str, str], ...]:
    """Pairs of prompts that the evidence names: model, layer, check and the line, each line once."""
    lines = {
        (verdict.model, reason.where, line): verdict.check
        for verdict in verdicts
        for reason in verdict.reasons
        for line in reason.evidence
        if _PAIR.search(line)
    }
    rows = [(model, where, check, line) for (model, where, line), check in lines.items()]
    return tuple(rows[:_MOST_PAIRS])


def _quantity(verdict: Verdict) -> str:
    """What a verdict judges of layers; of a release it names the attacker, which is no other check."""
    first = verdict.reasons[0] if verdict.reasons else None
    return first.quantity if first is not None and first.unit == "layer" else ""


def _failure(verdicts: Sequence[Verdict], asserted: Sequence[Verdict]) -> Failure:
    red = [verdict for verdict in verdicts if not verdict.passed]
    reasons = [reason for verdict in red for reason in verdict.failing]
    if reasons and reasons[0].unit == "layer":
        reasons.sort(key=_depth)
    return Failure(
        check=red[0].check,
        model=red[0].model,
        status=Status.FAIL
        if any(one.status is Status.FAIL for one in red)
        else Status.INSUFFICIENT,
        asserted=any(verdict in asserted for verdict in red),
        judged=sum(len(verdict.reasons) for verdict in verdicts),
        reasons=tuple(reasons),
        ahead=_once(line for verdict in red for line in verdict.ahead),
        notes=_once(line for verdict in red for line in verdict.notes),
        reproduce=_once(verdict.reproduce for verdict in red),
        chart=judged_chart({("measured", "s0"): [one for own in verdicts for one in own.reasons]}),
        lines=tuple(verdict.first_line for verdict in red if not verdict.reasons),
    )


def passed_charts(results: RunResults, looks: Mapping[str, tuple[str, str]]) -> list[LineChart]:
    """What checks judged that every layer passed, a figure a check: the bound is drawn in.

    Args:
        results: of the run.
        looks: the name and the look of each model, by its name in verdicts.
    """
    groups: dict[tuple[str, str], dict[str, list[Reason]]] = {}
    for verdict in results.verdicts:
        by_model = groups.setdefault((verdict.check, _quantity(verdict)), {})
        by_model.setdefault(verdict.model, []).extend(verdict.reasons)
    charts = []
    for (check, _), by_model in groups.items():
        green = {
            looks.get(model, (model, "s0")): reasons
            for model, reasons in by_model.items()
            if all(reason.status is Status.PASS for reason in reasons)
        }
        chart = judged_chart(green)
        # A figure of zeros (no collision at any layer) says what its verdict says.
        if chart is not None and any(one.value for one in chart.series[-1].points):
            charts.append(replace(chart, title=check))
    return charts


def judged_chart(by_model: Mapping[tuple[str, str], Sequence[Reason]]) -> LineChart | None:
    """What was judged at each layer, with its interval and the bound; None where that is no line.

    Args:
        by_model: the reasons of each model, which has a name and a look.
    """
    series: list[Series] = []
    every = [one for reasons in by_model.values() for one in reasons if one.unit == "layer"]
    names = tuple(dict.fromkeys(one.where for one in sorted(every, key=_depth)))
    if len(names) < _FEWEST or len({one.quantity for one in every}) > 1:
        return None
    for (name, look), reasons in by_model.items():
        layers = {one.where: one for one in reasons}
        if len(layers) < len(reasons) or not any(is_finite(one.value) for one in reasons):
            continue  # a layer was judged twice, of states rounded in two ways for example
        judged = [layers.get(one) for one in names]
        known = [one.points for one in series]
        series += [one for one in _bounds(judged) if one.points not in known]
        series.append(Series(name, tuple(map(_point, judged)), look))
    if not series:
        return None
    quantity = every[0].quantity
    wanted = ", ".join(dict.fromkeys(one.name for one in series if one.look == "bound"))
    caption = f"{quantity[:1].upper()}{quantity[1:]}; dashed: {wanted}; bars: intervals."
    return LineChart(quantity, caption, "layer", names, tuple(series))


def _bounds(judged: Sequence[Reason | None]) -> Iterator[Series]:
    """The lines that values are to stay above or below: both, where a reason has both."""
    for name, relation in (("at least", ">="), ("at most", "<=")):
        key = name.replace(" ", "_")
        values = [
            None
            if one is None
            else one.figures.get(key, one.bound if one.relation == relation else None)
            for one in judged
        ]
        line = Series(name, tuple(map(Point, values)), "bound")
        if line.measured:
            yield line


def _point(reason: Reason | None) -> Point:
    if reason is None:
        return Point(None)
    interval = reason.interval
    return Point(
        reason.value,
        None if interval is None else interval.low,
        None if interval is None else interval.high,
        bad=reason.status is not Status.PASS,
    )


def _depth(reason: Reason) -> tuple[bool, tuple[int, int, str]]:
    """Layers shallow first, then the norm and the head."""
    return not reason.where.startswith("layer"), label_depth(reason.where)


def _once(lines: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(lines))
