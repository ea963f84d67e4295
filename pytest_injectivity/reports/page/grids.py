"""Figures of activations rounded after capture: what collides, and what is left of margins."""

from collections.abc import Sequence

from pytest_injectivity.quantization.grid import Grid
from pytest_injectivity.reports.page.charts import (
    Figure,
    HeatCell,
    HeatMap,
    LineChart,
    Point,
    Series,
    drawn,
    share_level,
    short_label,
)
from pytest_injectivity.reports.page.layers import Model, names_of_layers, titled
from pytest_injectivity.results.summary import LayerSummary

_MOST = 5  # layers in a figure of lines
_FEWEST = 2  # grids of a line
_LOOKS = 6


def grid_figures(every: Sequence[Model]) -> tuple[Figure, ...]:
    """For each model a map of collisions and lines of margins ([VS] figures 4 and 5 in kind)."""
    return drawn([figure for one in every for figure in (_map(one, every), _lines(one, every))])


def _map(one: Model, every: Sequence[Model]) -> HeatMap | None:
    rounded = {(layer.layer, layer.bits): layer for layer in one.results.layers if layer.bits}
    if not rounded:
        return None
    labels = names_of_layers(layer for layer, _ in rounded)
    grids = _grids(one)
    cells = tuple(
        tuple(_collisions(rounded.get((label, bits))) for label in labels) for bits in grids
    )
    rows = tuple(Grid.parse(bits).words for bits in grids)
    title = titled("Activations rounded after capture", one, every)
    caption = "Colliding pairs among all pairs, by layer; each shade is a factor of ten."
    return HeatMap(title, caption, "grid", "layer", rows, labels, cells)


def _lines(one: Model, every: Sequence[Model]) -> LineChart | None:
    """The margin over the mean norm by grid; of many layers some, the first and the last among them."""
    measured = {
        (layer.layer, layer.bits): layer.normalized_margin_q for layer in one.results.layers
    }
    grids = _grids(one)
    if len(grids) < _FEWEST:
        return None
    labels = names_of_layers(layer for layer, bits in measured if bits)
    last = len(labels) - 1
    chosen = sorted({round(at * last / (_MOST - 1)) for at in range(_MOST)})
    series = tuple(
        Series(
            short_label(labels[at]) if labels[at] == "norm" else f"layer {short_label(labels[at])}",
            tuple(Point(measured.get((labels[at], bits))) for bits in (None, *grids)),
            f"s{number % _LOOKS}",
        )
        for number, at in enumerate(chosen)
    )
    shown = tuple(line for line in series if line.measured)
    if not shown:
        return None
    title = titled("Margin over mean norm, by bits", one, every)
    caption = (
        "The 1 % quantile of states rounded after capture. On a coarse uniform grid it rises, because no"
        " distance is below the step, until prompts collide."
    )
    names = ("as is", *(Grid.parse(bits).words for bits in grids))
    return LineChart(title, caption, "grid", names, shown)


def _grids(one: Model) -> list[int | str]:
    """What states were rounded to, fine grids first."""
    found = dict.fromkeys(layer.bits for layer in one.results.layers if layer.bits is not None)
    return sorted(found, key=lambda bits: Grid.parse(bits).coarseness)


def _collisions(layer: LayerSummary | None) -> HeatCell:
    if layer is None or layer.collisions is None:
        return HeatCell("–", None)
    pairs = layer.n * (layer.n - 1) / 2
    return HeatCell(f"{layer.collisions}", share_level(layer.collisions / pairs if pairs else 0.0))
