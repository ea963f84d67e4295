"""Figures of sweeps: margins and constants by length, by model or by bits ([VS] figures 2 to 4)."""

from collections.abc import Callable, Iterable, Sequence

from pytest_injectivity.core.layers import layer_id
from pytest_injectivity.quantization.grid import Grid
from pytest_injectivity.reports.page.charts import Figure, LineChart, Point, Series, drawn
from pytest_injectivity.reports.page.layers import names_of_layers
from pytest_injectivity.results.saved_runs import model_name
from pytest_injectivity.results.sweeps import Sweep, SweepPoint, table_layers

_DRAWN = (
    ("normalized_margin_q", "Margin over mean norm"),
    ("normalized_colipschitz_q", "Co-Lipschitz constant over mean norm"),
)
_DEPTHS = ("first layer", "middle layer", "last layer")
_DEEPEST = 2
_FEWEST = 2
_MOST_LINES = 6
_AXES: tuple[tuple[str, Callable[[SweepPoint], str | None]], ...] = (
    ("step", lambda one: None if one.step is None else f"{one.step:,}"),
    ("length", lambda one: None if one.length is None else str(one.length)),
    ("grid", lambda one: "as is" if one.bits is None else Grid.parse(one.bits).words),
    ("model", lambda one: one.model),
)


def sweep_figures(sweeps: Iterable[Sweep]) -> tuple[Figure, ...]:
    """Of each sweep a figure of margins and one of constants, at three depths or at each layer."""
    sweeps = [one for one in sweeps if one.points]
    names = [one.name for one in sweeps]
    return drawn(
        [
            _chart(one, metric, title, names.count(one.name) > 1)
            for one in sweeps
            for metric, title in _DRAWN
        ]
    )


def _chart(sweep: Sweep, metric: str, title: str, several: bool) -> LineChart | None:  # noqa: FBT001 - private
    found = _varied(sweep.points)
    if found is None:
        return None
    axis, labels, label_of = found
    layers = names_of_layers(one.layer for one in sweep.points)
    if axis == "step" and len(layers) <= _MOST_LINES:
        # Steps are of one model, whose layers are the same at each.
        found_at = {(one.layer, label_of(one)): one[metric] for one in sweep.points}
        lines = [
            (name, tuple(Point(found_at.get((name, label))) for label in labels)) for name in layers
        ]
    else:
        lines = [
            (name, tuple(_at(sweep.points, label_of, one, depth, metric) for one in labels))
            for depth, name in enumerate(_DEPTHS)
        ]
    series = tuple(Series(name, points, f"s{at}") for at, (name, points) in enumerate(lines))
    shown = tuple(one for one in series if one.measured)
    if not shown:
        return None
    whose = f" of {model_name('', sweep.points[0].model)}" if several else ""
    caption = f"{sweep.points[0].n} prompts at every point: the 1 % quantile falls as they grow."
    return LineChart(f"{title}, {sweep.name}{whose}", caption, axis, _shortened(labels), shown)


def _varied(
    points: Sequence[SweepPoint],
) -> tuple[str, tuple[str, ...], Callable[[SweepPoint], str | None]] | None:
    """What the points differ in, its values in their order, and how it is read."""
    for axis, label_of in _AXES:
        labels = [label for label in dict.fromkeys(map(label_of, points)) if label is not None]
        if len(labels) >= _FEWEST:
            return axis, tuple(labels), label_of
    return None


def _shortened(labels: tuple[str, ...]) -> tuple[str, ...]:
    """The last parts of paths and hub ids, where these tell them apart."""
    short = tuple(model_name("", label) for label in labels)
    return short if len(set(short)) == len(labels) else labels


def _at(
    points: Sequence[SweepPoint],
    label_of: Callable[[SweepPoint], str | None],
    label: str,
    depth: int,
    metric: str,
) -> Point:
    """The number at a depth; where the last layer was not measured the deepest one stands for it."""
    here = [one for one in points if label_of(one) == label]
    layers = names_of_layers(one.layer for one in here)
    name = layer_id(table_layers(here[0].n_layers)[depth])
    if name not in layers and depth == _DEEPEST:
        name = layers[-1]
    return Point(next((one[metric] for one in here if one.layer == name), None))
