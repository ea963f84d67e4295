"""Figures of local contraction: how much one step contracts at most, at each layer."""

from collections.abc import Iterable, Mapping, Sequence

from pytest_injectivity.reports.page.charts import LineChart, Point, Series
from pytest_injectivity.reports.page.layers import Model, names_of_layers, titled
from pytest_injectivity.results.verdict import Reason, Verdict

_CHECK = "local_colipschitz_above"
_BUDGET = ("prompts", "positions")
# The one-step margin by the check that measures it, and its names in the figures of a reason.
_MARGINS = {
    "one_step_distinct": ("first_position_margin", "after_special_margin"),
    "no_continuation_collisions": ("one_step_margin",),
}
_CAPTION = (
    "The smallest over the largest singular value of one step's Jacobian, at {positions} positions of"
    " {prompts} prompts, in float64. What lies on the lower line is not known: rounding makes as much of"
    " 0. It is local: the rows of other tokens are far away."
)
_MARGIN = " The one-step margin says how far the nearest two tokens are apart, in mean norms."

Budget = tuple[float, ...]


def contraction_figures(
    every: Sequence[Model], verdicts: Sequence[Verdict]
) -> tuple[LineChart, ...]:
    """A figure for each model and each number of prompts and positions that was looked at."""
    return tuple(
        _chart(one, every, reasons, _margins(one, verdicts))
        for one in every
        for reasons in _judged(one, verdicts).values()
    )


def _judged(one: Model, verdicts: Iterable[Verdict]) -> dict[Budget, dict[str, Reason]]:
    """What was measured of a model, by budget and layer: tests of single layers share a figure."""
    found: dict[Budget, dict[str, Reason]] = {}
    for reason in _reasons(one, verdicts, _CHECK):
        if reason.figures:
            budget = tuple(reason.figures[name] for name in _BUDGET)
            found.setdefault(budget, {}).setdefault(reason.where, reason)
    return found


def _reasons(one: Model, verdicts: Iterable[Verdict], check: str) -> Iterable[Reason]:
    own = (verdict for verdict in verdicts if verdict.check == check and verdict.model == one.label)
    return (reason for verdict in own for reason in verdict.reasons)


def _margins(one: Model, verdicts: Sequence[Verdict]) -> dict[str, float]:
    """The least one-step margin of each layer, over its mean norm where that is known."""
    least: dict[str, float] = {}
    for check, names in _MARGINS.items():
        for reason in _reasons(one, verdicts, check):
            layer = one.plain.get(reason.where)
            known = [reason.figures[name] for name in names if name in reason.figures]
            if known and layer is not None and layer.mean_norm:
                margin = min(known) / layer.mean_norm
                least[reason.where] = min(margin, least.get(reason.where, margin))
    return least


def _chart(
    one: Model,
    every: Sequence[Model],
    reasons: Mapping[str, Reason],
    margins: Mapping[str, float],
) -> LineChart:
    labels = names_of_layers(reasons)
    figures = [reasons[label].figures for label in labels]
    spread = tuple(
        Point(own["ratio_median"], own["ratio_least"], own["ratio_greatest"]) for own in figures
    )
    bounds = tuple(
        Point(reasons[label].bound if reasons[label].figures["normalized"] else None)
        for label in labels
    )
    series = (
        Series("least to greatest, median", spread, "box2"),
        Series("one-step margin", tuple(Point(margins.get(label)) for label in labels), "s1"),
        Series("known from", tuple(Point(own["known_from"]) for own in figures), "parent"),
        Series("bound", bounds, "bound", aside=True),
    )
    shown = tuple(line for line in series if line.measured)
    caption = _CAPTION.format(**{name: f"{figures[0][name]:g}" for name in _BUDGET})
    more = _MARGIN if series[1].measured else ""
    return LineChart(
        titled("Local contraction", one, every), caption + more, "layer", labels, shown
    )
