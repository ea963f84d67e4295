"""What was audited and what was measured of its layers, as tables."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.text import number_of
from pytest_injectivity.quantization.grid import Grid
from pytest_injectivity.reports.certificate_lines import certificate_lines
from pytest_injectivity.reports.cut_table import cut_table
from pytest_injectivity.reports.reference_table import next_token_line, reference_table
from pytest_injectivity.reports.release_table import release_table
from pytest_injectivity.reports.table import MISSING, WORST, Cell, Column, Table, facts, worst_of
from pytest_injectivity.results.changes import label_depth
from pytest_injectivity.results.metrics import Metric, legend, tabled
from pytest_injectivity.results.summary import Comparison, LayerKey, LayerSummary, RunSummary

if TYPE_CHECKING:
    from pytest_injectivity.results.run_results import ModelResults


def tables(
    results: "ModelResults",
    compared: Callable[[tuple[Comparison, ...]], Table] = reference_table,
) -> Iterator[Table]:
    """Every table that there is something to put into: layers, rounded layers, parent, releases.

    Args:
        results: what was measured of a model.
        compared: makes the table of comparisons with a parent.
    """
    plain = [layer for layer in results.layers if layer.bits is None]
    if plain:
        yield layer_table(plain)
    if len(results.layers) > len(plain):
        yield bits_table(results.layers)
    if results.comparisons:
        yield compared(results.comparisons)
    if results.releases:
        yield release_table(results.releases)
    cuts = cut_table(results.releases)
    if cuts is not None:
        yield cuts


def run_table(run: RunSummary, name: str = "") -> Table:
    """What was audited: on the left what is told, on the right what it is.

    Args:
        run: what was audited.
        name: of the model, where there are several.
    """
    revision = f" at {run.revision}" if run.revision else ""
    dropped = ", ".join(f"{count} {name}" for name, count in run.dropped.items() if count)
    special = "with" if run.special_tokens else "without"
    size = f"{number_of(run.n_layers, 'layer')}, d {run.hidden}, vocabulary {run.vocab}"
    rows = [
        ("model", f"{name}: {run.model}{revision}" if name else f"{run.model}{revision}"),
        ("", f"{run.family}, {size}, {run.dtype} on {run.device}"),
    ]
    if run.quantized is not None:
        rows.append(("quantized", run.quantized.line))
    if run.activations is not None:
        rows.append(("activations", run.activations.line))
    if run.reference is not None:
        rows.append(("against", run.reference))
    if run.next_token is not None:
        rows.append(("next token", next_token_line(run.next_token)))
    prompts = (
        f"{run.n} of {run.prompts} [{run.prompt_hash[:12]}], {run.shortest} to {run.longest}"
        f" tokens, {special} special tokens; dropped: {dropped or 'none'}"
    )
    notes = (("", note) for note in run.prompt_notes)
    return facts(
        [
            *rows,
            ("prompts", prompts),
            *notes,
            ("assumed", run.assumptions),
            ("numbers", run.numbers),
        ]
    )


def layer_table(layers: Iterable[LayerSummary]) -> Table:
    """One row a layer, shallow first; the worst value of a column is marked."""
    ordered = sorted(layers, key=lambda layer: label_depth(layer.layer))
    metrics = tabled()
    worst = {metric.name: _worst(metric, ordered) for metric in metrics}
    rows = tuple(
        (
            Cell(_name(layer)),
            *(_cell(metric, layer[metric.name], worst[metric.name]) for metric in metrics),
        )
        for layer in ordered
    )
    columns = (Column("layer", number=False), *(Column(metric.title) for metric in metrics))
    meanings = f"columns: {legend(metrics)}; {WORST} worst layer"
    notes = (meanings, *trend_lines(ordered), *certificate_lines(ordered))
    return Table(columns, rows, notes=notes, marks=True)


def trend_lines(layers: Iterable[LayerSummary]) -> list[str]:
    """What the numbers above are multiplied by where the number of prompts doubles, as one line."""
    trends = {layer.layer: layer.trend for layer in layers if layer.trend and layer.trend.n}
    said = []
    for name, falls in (
        ("m 1%", {layer: trend.margin_q for layer, trend in trends.items()}),
        ("α 1%", {layer: trend.colipschitz_q for layer, trend in trends.items()}),
    ):
        known = {
            layer: fall.per_doubling
            for layer, fall in falls.items()
            if fall is not None and fall.per_doubling is not None
        }
        if known:
            least, most = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
            other = f" to {show(known[most], 2)} ({most})" if known[least] < known[most] else ""
            said.append(f"{name} x {show(known[least], 2)} ({least}){other}")
    if not said:
        return []
    sizes = {trend.n for trend in trends.values()}
    shown = " to ".join(str(n) for n in next(iter(sizes))) if len(sizes) == 1 else "N/4 to N/2 to N"
    return [f"each time the prompts doubled, {shown}: {'; '.join(said)}"]


def bits_table(layers: Iterable[LayerSummary]) -> Table:
    """What post-hoc activation quantization does to each layer ([VS] figure 4 in kind).

    A cell reads ``collisions margin/co-Lipschitz``: colliding pairs, and what is left of the 1 %
    quantiles of the unrounded states, in percent. More than 100 means that rounding moved near states
    apart: on a uniform grid of one scale two that differ lie at least its step apart, which may be more
    than the margin was. Floats have no such step: their codes lie the farther apart the larger they are.
    """
    summaries = {layer.key: layer for layer in layers}
    names = sorted({key.layer for key in summaries}, key=label_depth)
    rounded = grids(summaries.values())
    rows = tuple(
        (
            Cell(name),
            *(
                _kept(summaries.get(LayerKey(name, bits.key)), summaries.get(LayerKey(name, None)))
                for bits in rounded
            ),
        )
        for name in names
    )
    return Table(
        (Column("layer", number=False), *(Column(bits.words) for bits in rounded)),
        rows,
        title="activations rounded: colliding pairs, % of margin / co-Lipschitz constant kept",
        notes=tuple(scale_lines(summaries.values())),
    )


def scale_lines(layers: Iterable[LayerSummary]) -> list[str]:
    """Where the scales of grids come from that are not those of the set itself, as one line."""
    layers = list(layers)
    said = [
        f"{grid.words} {scale}"
        for grid in grids(layers)
        if not grid.plain
        for scale in sorted({str(one.scale) for one in layers if one.bits == grid.key})
    ]
    return [f"scales: {'; '.join(said)}"] if said else []


def grids(layers: Iterable[LayerSummary]) -> list[Grid]:
    """The grids that layers were rounded to, the finest first."""
    found = {Grid.parse(layer.bits) for layer in layers if layer.bits is not None}
    return sorted(found, key=lambda grid: grid.coarseness)


def _name(layer: LayerSummary) -> str:
    return f"{layer.layer} ({layer.not_finite} not finite)" if layer.not_finite else layer.layer


def _kept(rounded: LayerSummary | None, plain: LayerSummary | None) -> Cell:
    if rounded is None or plain is None or rounded.collisions is None:
        return Cell(MISSING)
    shares = [
        f"{100 * part / whole:.0f}" if part is not None and whole else MISSING
        for part, whole in (
            (rounded.margin_q, plain.margin_q),
            (rounded.colipschitz_q, plain.colipschitz_q),
        )
    ]
    text = f"{rounded.collisions} {'/'.join(shares)}"
    return Cell(text, tone="bad") if rounded.collisions else Cell(text)


def _worst(metric: Metric, layers: list[LayerSummary]) -> float | None:
    values = [value for layer in layers if (value := layer[metric.name]) is not None]
    if not metric.marked or len(set(values)) < 2:  # noqa: PLR2004 - equal values have no worst
        return None
    return min(values) if metric.better == "more" else max(values)


def _cell(metric: Metric, value: float | None, worst: float | None) -> Cell:
    if value is None:
        return Cell(MISSING)
    return worst_of(metric.show(value), worst=value == worst)
