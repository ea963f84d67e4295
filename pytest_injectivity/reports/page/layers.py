"""Figures of what was measured layer by layer, the models of a run in one figure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pytest_injectivity.reports.page.charts import (
    Figure,
    HeatCell,
    HeatMap,
    LineChart,
    Point,
    Series,
    drawn,
    is_finite,
    share_level,
)
from pytest_injectivity.results.changes import label_depth
from pytest_injectivity.results.run_results import ModelResults
from pytest_injectivity.results.summary import Comparison, Estimate, LayerSummary
from pytest_injectivity.results.verdict import Verdict

_LOOKS = 6

Interval = tuple[float, float]
Judged = Mapping[tuple[str, str, float], Interval]
"""Intervals of numbers that verdicts judged, by model, layer and the number itself."""


@dataclass(frozen=True)
class Model:
    """A model of the run, as figures name it.

    Attributes:
        name: in legends and tables.
        look: of its lines.
        label: its name in verdicts; empty where the run has one model.
        results: what was measured of it.
    """

    name: str
    look: str
    label: str
    results: ModelResults

    @property
    def plain(self) -> dict[str, LayerSummary]:
        """Its layers, the unrounded states only."""
        return {one.layer: one for one in self.results.layers if one.bits is None}

    @property
    def compared(self) -> dict[str, Comparison]:
        """Its comparisons with its parent, by layer."""
        return {one.layer: one for one in self.results.comparisons}


@dataclass(frozen=True)
class _Drawn:
    """A metric that has a figure.

    Attributes:
        metric: its name in `METRICS`.
        title: of the figure.
        caption: what it is.
        judged: how quantities of verdicts begin whose intervals are those of this metric.
        parents: the parent's number, from the model's and the comparison; None: not known.
    """

    metric: str
    title: str
    caption: str
    judged: str = ""
    parents: Callable[[float, Comparison], float | None] | None = None


def _over(
    part: Callable[[Comparison], Estimate | None],
) -> Callable[[float, Comparison], float | None]:
    """The parent's number from the share of it that is kept."""

    def parents(own: float, compared: Comparison) -> float | None:
        kept = part(compared)
        return own / kept.value if kept is not None and kept.value else None

    return parents


def _parents_norm(own: float, compared: Comparison) -> float | None:
    """The parent's mean norm: what a normalized share differs by from one that is not."""
    kept, normalized = compared.margin, compared.normalized_margin
    if kept is None or normalized is None or not kept.value or normalized.value is None:
        return None
    return own * normalized.value / kept.value


_MARGIN, _COLIPSCHITZ = "separation margin", "co-Lipschitz constant"
_DRAWN = (
    _Drawn(
        "margin",
        "Separation margin, minimum",
        "Distance of the nearest two prompts.",
        _MARGIN,
    ),
    _Drawn(
        "margin_q",
        "Separation margin, 1 % quantile",
        "Distance from a prompt's state to the nearest other one, of the closest 1 % of prompts.",
        _MARGIN,
        _over(lambda one: one.margin),
    ),
    _Drawn(
        "normalized_margin_q",
        "Separation margin over mean norm",
        "The 1 % quantile in units of the layer's mean norm: layers and models compare.",
        _MARGIN,
        _over(lambda one: one.normalized_margin),
    ),
    _Drawn(
        "colipschitz_q",
        "Co-Lipschitz constant, 1 % quantile",
        "Least distance of states for each edit that parts two prompts.",
        _COLIPSCHITZ,
        _over(lambda one: one.colipschitz),
    ),
    _Drawn(
        "normalized_colipschitz_q",
        "Co-Lipschitz constant over mean norm",
        "The 1 % quantile in units of the layer's mean norm.",
        _COLIPSCHITZ,
        _over(lambda one: one.normalized_colipschitz),
    ),
    _Drawn("mean_norm", "Mean norm", "Length of the states on average.", "", _parents_norm),
    _Drawn(
        "resolution",
        "Resolution",
        "How far two evaluations of one prompt may lie apart; nearer states cannot be told apart.",
        "",
        lambda _, one: one.reference_resolution,
    ),
    _Drawn("error", "Error to float64", "Distance of the states to those of true float64."),
    _Drawn("collisions", "Colliding pairs", "Pairs that are equal or cannot be told apart."),
)


def models(parts: Iterable[tuple[str, ModelResults]]) -> tuple[Model, ...]:
    """The models of a run, each with a name and a look of its own."""
    return tuple(
        Model(name or "model", f"s{at % _LOOKS}", name, results)
        for at, (name, results) in enumerate(parts)
    )


def layer_figures(every: Sequence[Model], verdicts: Sequence[Verdict]) -> tuple[Figure, ...]:
    """A figure for each number of layers that was measured, then the maps of near-collisions."""
    judged = _intervals(verdicts)
    return drawn(
        [
            *(_line_chart(one, every, judged) for one in _DRAWN),
            *(_near_map(one, every) for one in every),
        ]
    )


def names_of_layers(layers: Iterable[str]) -> tuple[str, ...]:
    """The names of layers, shallow first, each once."""
    return tuple(sorted(dict.fromkeys(layers), key=label_depth))


def titled(title: str, one: Model, every: Sequence[Model]) -> str:
    """A title with the name of the model, where there are several."""
    return f"{title}, {one.name}" if len(every) > 1 else title


def _line_chart(drawn_: _Drawn, every: Sequence[Model], judged: Judged) -> LineChart | None:
    labels = names_of_layers(name for one in every for name in one.plain)
    series: list[Series] = []
    beside: list[Series] = []
    parents = {one.results.run.reference for one in every if one.results.run is not None}
    for one in every:
        points = tuple(_point(drawn_, one, label, judged) for label in labels)
        series.append(Series(one.name, points, one.look))
        name = "parent" if len(parents) == 1 else f"parent of {one.name}"
        parent = Series(name, _parent(drawn_, one, labels), "parent")
        # Models of one parent have its line once.
        if parent.measured and (not beside or len(parents) > 1):
            beside.append(parent)
    shown = tuple(one for one in (*series, *beside) if one.measured)
    if not shown or (drawn_.metric == "collisions" and not _positive(shown)):
        return None
    return LineChart(drawn_.title, drawn_.caption, "layer", labels, shown)


def _point(drawn_: _Drawn, one: Model, label: str, judged: Judged) -> Point:
    value = _value(one.plain.get(label), drawn_.metric)
    if value is None or not drawn_.judged:
        return Point(value)
    low, high = judged.get((f"{drawn_.judged} of {one.label}", label, value), (None, None))
    return Point(value, low, high)


def _parent(drawn_: _Drawn, one: Model, labels: Sequence[str]) -> tuple[Point, ...]:
    points = []
    for label in labels:
        own = _value(one.plain.get(label), drawn_.metric)
        compared = one.compared.get(label)
        if own is None or compared is None or drawn_.parents is None:
            points.append(Point(None))
        else:
            points.append(Point(drawn_.parents(own, compared)))
    return tuple(points)


def _intervals(verdicts: Iterable[Verdict]) -> Judged:
    """The intervals of what verdicts judged: a number of a layer is the very one that was judged."""
    return {
        (f"{quantity} of {verdict.model}", reason.where, reason.value): (low, high)
        for verdict in verdicts
        for reason in verdict.reasons
        for quantity in (_MARGIN, _COLIPSCHITZ)
        if reason.quantity.startswith(quantity) and reason.interval is not None
        for low, high in [(reason.interval.low, reason.interval.high)]
    }


def _near_map(one: Model, every: Sequence[Model]) -> HeatMap | None:
    labels = names_of_layers(one.plain)
    shares = [one.plain[label].near_fractions or {} for label in labels]
    rungs = sorted({rung for layer in shares for rung in layer}, key=float, reverse=True)
    if not rungs or not any(value for layer in shares for value in layer.values()):
        return None
    cells = tuple(tuple(_share(layer.get(rung)) for layer in shares) for rung in rungs)
    rows = tuple(f"≤ {rung}" for rung in rungs)
    title = titled("Near-collisions", one, every)
    caption = "Share of all pairs within a distance, by layer; each shade is a factor of ten."
    return HeatMap(title, caption, "distance", "layer", rows, labels, cells)


def _share(share: float | None) -> HeatCell:
    return HeatCell("–" if share is None else f"{share:.3g}", share_level(share))


def _value(layer: LayerSummary | None, metric: str) -> float | None:
    return None if layer is None else layer[metric]


def _positive(series: Iterable[Series]) -> bool:
    return any(is_finite(one.value) and one.value for line in series for one in line.points)
