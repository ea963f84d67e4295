"""Figures of prompts recovered from states by SipIt: up to which position, at each layer."""

import math
from collections.abc import Iterable, Sequence

from pytest_injectivity.reports.page.charts import HeatCell, HeatMap
from pytest_injectivity.reports.page.layers import Model, names_of_layers, titled
from pytest_injectivity.results.verdict import Reason, Verdict

_FAILED = "failed_at_"
_LEVELS = 6


def recovery_figures(every: Sequence[Model], verdicts: Sequence[Verdict]) -> tuple[HeatMap, ...]:
    """A map for each model that SipIt was run on."""
    charts = (_map(one, every, verdicts) for one in every)
    return tuple(chart for chart in charts if chart is not None)


def _map(one: Model, every: Sequence[Model], verdicts: Iterable[Verdict]) -> HeatMap | None:
    reasons = {
        reason.where: reason
        for verdict in verdicts
        if verdict.check == "sipit_recovers" and verdict.model == one.label
        for reason in verdict.reasons
        if reason.figures.get("prompts") and reason.figures.get("tokens")
    }
    if not reasons:
        return None
    labels = names_of_layers(reasons)
    longest = max(int(reason.figures["tokens"]) for reason in reasons.values())
    shares = [_shares(reasons[label], longest) for label in labels]
    return HeatMap(
        titled("Recovered by SipIt, by position", one, every),
        "Share of prompts that SipIt has right up to a position, from faint (none) to full (all).",
        "layer",
        "position",
        labels,
        tuple(map(str, range(longest))),
        tuple(tuple(map(_cell, row)) for row in shares),
    )


def _shares(reason: Reason, longest: int) -> list[float | None]:
    """The share of prompts without a failure up to each position; None beyond the last one."""
    prompts, tokens = reason.figures["prompts"], int(reason.figures["tokens"])
    failed = {
        int(name.removeprefix(_FAILED)): count
        for name, count in reason.figures.items()
        if name.startswith(_FAILED)
    }
    left, shares = prompts, list[float | None]()
    for position in range(longest):
        left -= failed.get(position, 0)
        shares.append(left / prompts if position < tokens else None)
    return shares


def _cell(share: float | None) -> HeatCell:
    if share is None:
        return HeatCell("–", None)
    return HeatCell(f"{100 * share:.3g} %", math.ceil(_LEVELS * share))
