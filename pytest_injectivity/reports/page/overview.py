"""The verdicts at a glance: each check at each layer."""

from collections.abc import Iterable, Sequence

from pytest_injectivity.reports.page.charts import HeatCell, HeatMap
from pytest_injectivity.reports.page.layers import Model, names_of_layers, titled
from pytest_injectivity.reports.table import MISSING
from pytest_injectivity.results.verdict import WORST_FIRST, Status, Verdict

SHADES = "Faint: PASS; full: FAIL; between: INSUFFICIENT; blank: not judged there."
"""What the shades of statuses mean."""

_FEWEST = 2  # of checks and of layers


def overview(every: Sequence[Model], verdicts: Iterable[Verdict]) -> tuple[HeatMap, ...]:
    """A map for each model that several checks judged at several layers."""
    verdicts = list(verdicts)
    maps = (_map(one, every, verdicts) for one in every)
    return tuple(one for one in maps if one is not None)


def _map(one: Model, every: Sequence[Model], verdicts: Sequence[Verdict]) -> HeatMap | None:
    found: dict[str, dict[str, Status]] = {}
    for verdict in verdicts:
        if verdict.model != one.label:
            continue
        for reason in verdict.reasons:
            if reason.unit == "layer":
                layers = found.setdefault(verdict.check, {})
                # A check may judge a layer several times, rounded to several grids for example.
                known = layers.get(reason.where, reason.status)
                layers[reason.where] = min(known, reason.status, key=WORST_FIRST.index)
    labels = names_of_layers(where for layers in found.values() for where in layers)
    if min(len(found), len(labels)) < _FEWEST:
        return None
    return HeatMap(
        titled("Verdicts by layer", one, every),
        f"{SHADES} Of several verdicts of a check on a layer the worst is shown.",
        "check",
        "layer",
        tuple(found),
        labels,
        tuple(tuple(_cell(layers.get(label)) for label in labels) for layers in found.values()),
    )


def _cell(status: Status | None) -> HeatCell:
    return HeatCell(MISSING, None) if status is None else HeatCell.of(status)
