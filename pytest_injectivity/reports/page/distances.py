"""Figures of the distances to the nearest prompt: a histogram of one layer, boxes of all."""

from collections.abc import Iterable, Mapping, Sequence

from pytest_injectivity.reports.page.charts import (
    Bin,
    Figure,
    Histogram,
    LineChart,
    Mark,
    Point,
    Series,
    drawn,
)
from pytest_injectivity.reports.page.layers import Model, names_of_layers, titled
from pytest_injectivity.results.summary import LayerSummary
from pytest_injectivity.results.verdict import Verdict

_TENTH = 10.0**0.1


def distance_figures(every: Sequence[Model], verdicts: Sequence[Verdict]) -> tuple[Figure, ...]:
    """For each model a histogram of its narrowest layer, and boxes of every layer."""
    bounds = [_bounds(one, verdicts) for one in every]
    both = list(zip(every, bounds, strict=True))
    return drawn(
        [
            *(_histogram(one, every, bound) for one, bound in both),
            *(_boxes(one, every, bound) for one, bound in both),
        ]
    )


def _histogram(one: Model, every: Sequence[Model], bounds: Mapping[str, float]) -> Histogram | None:
    """The distances of the layer that is nearest to its bound, or whose prompts are nearest."""
    known = [layer for layer in one.plain.values() if layer.nearest_counts]
    if not known:
        return None
    layer = min(known, key=lambda layer: _room(layer, bounds.get(layer.layer)))
    counts = sorted((float(edge), int(count)) for edge, count in layer.nearest_counts.items())
    bins = tuple(Bin(edge, edge * _TENTH, count) for edge, count in counts)
    marks = (
        ("resolution", layer.resolution, "parent"),
        ("bound", bounds.get(layer.layer), "bound"),
    )
    caption = (
        f"How far the {layer.n} prompts lie from the nearest other one, at the layer that is narrowest"
        f" {'for its bound' if bounds else 'over its mean norm'}. What is near the resolution cannot be"
        " told apart."
    )
    return Histogram(
        titled(f"Distances to the nearest prompt, {layer.layer}", one, every),
        caption,
        "distance",
        "prompts",
        bins,
        tuple(Mark(name, value, look) for name, value, look in marks if value),
        one.look,
    )


def _room(layer: LayerSummary, bound: float | None) -> tuple[bool, float]:
    """How much room a layer has; one without a bound comes after those that have one."""
    if bound:
        return False, (layer.margin_q or 0.0) / bound
    return True, layer.normalized_margin_q or 0.0


def _boxes(one: Model, every: Sequence[Model], bounds: Mapping[str, float]) -> LineChart | None:
    """The distances to the nearest prompt, as boxes, over the resolution and under the bound."""
    labels = tuple(name for name in names_of_layers(one.plain) if one.plain[name].nearest)
    if not labels:
        return None
    layers = [one.plain[name] for name in labels]
    series = [
        Series(name, tuple(_box(layer, low, high) for layer in layers), look)
        for name, low, high, look in (
            ("least to largest", "0", "1", "box0"),
            ("5–95 %", "0.05", "0.95", "box1"),
            ("25–75 %, median", "0.25", "0.75", "box2"),
        )
    ]
    resolutions = tuple(Point(layer.resolution) for layer in layers)
    bound = tuple(Point(bounds.get(name)) for name in labels)
    series.append(Series("resolution", resolutions, "parent", aside=True))
    series.append(Series("bound", bound, "bound", aside=True))
    shown = tuple(line for line in series if line.measured)
    caption = (
        "The bound is that of margin_above, for its quantile; it and the resolution are drawn where the"
        " axis reaches them."
    )
    title = titled("Distances to the nearest prompt, by layer", one, every)
    return LineChart(title, caption, "layer", labels, shown)


def _box(layer: LayerSummary, low: str, high: str) -> Point:
    spread = layer.nearest
    return Point(spread.get("0.5"), spread.get(low), spread.get(high))


def _bounds(one: Model, verdicts: Iterable[Verdict]) -> dict[str, float]:
    """The bounds of this model's margins, in the states' units; of several the first."""
    found: dict[str, float] = {}
    for verdict in verdicts:
        if verdict.check != "margin_above" or verdict.model != one.label:
            continue
        for reason in verdict.reasons:
            layer = one.plain.get(reason.where)
            unit = 1.0 if "normalized" not in reason.quantity or layer is None else layer.mean_norm
            if layer is not None and "bits" not in reason.quantity and unit is not None:
                found.setdefault(reason.where, reason.bound * unit)
    return found
