"""Figures of repeated tokens: which number of repetitions is told from the next, at each layer."""

import math
from collections.abc import Sequence

from pytest_injectivity.reports.page.charts import HeatCell, HeatMap
from pytest_injectivity.reports.page.layers import Model, names_of_layers, titled
from pytest_injectivity.results.verdict import Reason, Verdict

_ALIKE = "alike_at_"
_LEVELS = 6
_MOST = 24  # columns


def repetition_figures(every: Sequence[Model], verdicts: Sequence[Verdict]) -> tuple[HeatMap, ...]:
    """A map for each verdict on repetitions: verdicts differ in what stands around these."""
    judged = [one for one in verdicts if one.check == "no_repetition_collapse"]
    charts = (_map(one, every, of) for one in every for of in judged if of.model == one.label)
    return tuple(chart for chart in charts if chart is not None)


def _map(one: Model, every: Sequence[Model], verdict: Verdict) -> HeatMap | None:
    reasons = {of.where: of for of in verdict.reasons if of.figures.get("tokens")}
    if not reasons:
        return None
    labels = names_of_layers(reasons)
    steps = shown_steps(max(_last(reason) for reason in reasons.values()))
    caption = "Of how many of the repeated tokens a number and one more are not told apart;"
    return HeatMap(
        titled("Repetitions not told from one more", one, every),
        " ".join((caption, *verdict.notes)) + ".",
        "layer",
        "repetitions",
        labels,
        tuple(map(str, steps)),
        tuple(tuple(_cell(reasons[label], n) for n in steps) for label in labels),
    )


def shown_steps(last: int) -> list[int]:
    """The numbers of repetitions that have a column; of many some, ever further apart.

    >>> shown_steps(5), len(shown_steps(1000)), shown_steps(1000)[-1]
    ([1, 2, 3, 4, 5], 22, 1000)
    """
    if last <= _MOST:
        return list(range(1, last + 1))
    spaced = (round(last ** (at / (_MOST - 1))) for at in range(_MOST))
    return list(dict.fromkeys(spaced))


def _last(reason: Reason) -> int:
    return int(reason.figures["steps"] / reason.figures["tokens"])


def _cell(reason: Reason, n: int) -> HeatCell:
    if n > _last(reason):
        return HeatCell("–", None)
    share = reason.figures.get(f"{_ALIKE}{n}", 0) / reason.figures["tokens"]
    return HeatCell(f"{100 * share:.3g} %", math.ceil(_LEVELS * share))
