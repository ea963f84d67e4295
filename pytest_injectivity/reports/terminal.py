"""The table a person sees at the end of a run: one row a layer, the worst of each number marked."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from pytest_injectivity.core.files import write_whole
from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.text import one_line
from pytest_injectivity.quantization.grid import Grid
from pytest_injectivity.reports.annotations import harmless, in_workflow
from pytest_injectivity.reports.reference_table import LEGEND as REFERENCE_LEGEND
from pytest_injectivity.reports.reference_table import reference_table
from pytest_injectivity.reports.release_table import release_parts
from pytest_injectivity.results.metrics import Metric, legend, tabled
from pytest_injectivity.results.summary import LayerKey, LayerSummary, RunSummary
from pytest_injectivity.results.verdict import Verdict

if TYPE_CHECKING:
    from pytest_injectivity.results.run_results import RunResults


_WIDEST = 1000
_WIDTH = 100


def write_report(path: Path, results: "RunResults") -> None:
    """Write what the terminal shows as a text file.

    Raises:
        OSError: the file cannot be written.
    """
    write_whole(path, "\n".join([*summary_lines(results, _WIDTH, color=False), ""]))


def write_summary(results: "RunResults", terminal: pytest.TerminalReporter) -> None:
    """Write the run's description, its layers and its verdicts to pytest's terminal.

    Args:
        results: what the tests found.
        terminal: pytest's reporter; its width and colour are kept to.
    """
    for line in summary_lines(results, terminal._tw.fullwidth, color=terminal._tw.hasmarkup):  # noqa: SLF001 - pytest names no public way to its width
        terminal.write_line(line)


def summary_lines(results: "RunResults", width: int, *, color: bool) -> list[str]:
    """The summary as lines of at most ``width`` columns; a table is as wide as its numbers are.

    Half a number is another number, so a table that does not fit is left to the terminal to wrap.
    """
    layers = layer_parts(results)
    said = [Text(line) for line in (*verdict_lines(results.verdicts), *results.said)]
    parts: list[tuple[RenderableType, int]] = []
    if results.run is not None:
        parts.append((run_grid(results.run), width))
    parts += [(part, _WIDEST if isinstance(part, Table) else width) for part in layers]
    parts += [(line, width) for line in said]
    lines = [line for part, columns in parts for line in _printed(part, columns, color=color)]
    return [harmless(line) for line in lines] if in_workflow() else lines


def layer_parts(results: "RunResults") -> list[Table | Text]:
    """What there is to say of the layers: tables, and the texts that explain them.

    The terminal prints them; the Markdown report writes the same ones in its own way.
    """
    layers = results.layers
    plain = [layer for layer in layers if layer.bits is None]
    parts: list[Table | Text] = []
    if plain:
        parts += [
            layer_table(plain),
            Text(f"columns: {legend(tabled())}; ◄ worst layer", style="dim"),
        ]
        parts += [Text(line, style="dim") for line in trend_lines(plain)]
    if len(layers) > len(plain):
        parts.append(bits_table(layers))
        parts += [Text(line, style="dim") for line in scale_lines(layers)]
    if results.comparisons:
        parts += [reference_table(results.comparisons), REFERENCE_LEGEND]
    if results.releases:
        parts += release_parts(results.releases)
    return parts


def _printed(part: RenderableType, width: int, *, color: bool) -> list[str]:
    console = Console(width=width, force_terminal=color, color_system="standard" if color else None)
    with console.capture() as captured:
        console.print(part)
    return captured.get().rstrip("\n").split("\n")


def run_grid(run: RunSummary) -> Table:
    """What was audited: its name on the left, what it is on the right."""
    revision = f" at {run.revision}" if run.revision else ""
    dropped = ", ".join(f"{count} {name}" for name, count in run.dropped.items() if count)
    special = "with" if run.special_tokens else "without"
    grid = Table.grid(padding=(0, 2))
    grid.add_row("model", Text(f"{run.model}{revision}"))
    grid.add_row(
        "",
        Text(
            f"{run.family}, {run.n_layers} layers, d {run.hidden}, vocabulary {run.vocab},"
            f" {run.dtype} on {run.device}"
        ),
    )
    if run.quantized is not None:
        grid.add_row("quantized", Text(run.quantized.line))
    if run.activations is not None:
        grid.add_row("activations", Text(run.activations.line))
    if run.reference is not None:
        grid.add_row("against", Text(run.reference))
    grid.add_row(
        "prompts",
        Text(
            f"{run.n} of {run.prompts} [{run.prompt_hash[:12]}], {run.shortest} to {run.longest}"
            f" tokens, {special} special tokens; dropped: {dropped or 'none'}"
        ),
    )
    grid.add_row("assumed", Text(run.assumptions))
    grid.add_row("numbers", Text(run.numbers))
    return grid


def layer_table(layers: Iterable[LayerSummary]) -> Table:
    """One row a layer, shallow first; the worst value of a column is marked."""
    ordered = sorted(layers, key=lambda layer: _by_depth(layer.layer))
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    table.add_column("layer")
    columns = tabled()
    for metric in columns:
        table.add_column(metric.title, justify="right")
    worst = {metric.name: _worst(metric, ordered) for metric in columns}
    for layer in ordered:
        cells = [_cell(metric, layer[metric.name], worst[metric.name]) for metric in columns]
        name = f"{layer.layer} ({layer.not_finite} not finite)" if layer.not_finite else layer.layer
        table.add_row(Text(name), *cells)
    return table


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
    quantiles of the unrounded states, in percent. More than 100 means that the grid's step, the
    least distance there is on it, is larger than the margin was.
    """
    summaries = {layer.key: layer for layer in layers}
    names = sorted({name for name, _ in summaries}, key=_by_depth)
    rounded = grids(summaries.values())
    table = Table(
        title="activations rounded: colliding pairs, % of margin / co-Lipschitz constant kept",
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
    )
    table.add_column("layer")
    for bits in rounded:
        table.add_column(bits.words, justify="right")
    for name in names:
        cells = [
            _kept(summaries.get(LayerKey(name, bits.key)), summaries.get(LayerKey(name, None)))
            for bits in rounded
        ]
        table.add_row(name, *cells)
    return table


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
    return sorted(found, key=lambda grid: (-grid.bits, str(grid)))


def verdict_lines(verdicts: Sequence[Verdict]) -> list[str]:
    """The first line of each verdict that is not PASS, and how many are."""
    passed = sum(verdict.passed for verdict in verdicts)
    lines = [one_line(verdict.first_line) for verdict in verdicts if not verdict.passed]
    return [*lines, f"{passed} of {len(verdicts)} verdicts PASS"] if verdicts else []


def _by_depth(name: str) -> tuple[bool, int, str]:
    """Sorts layer ids shallow first, ``norm`` last."""
    return name == "norm", len(name), name


def _kept(rounded: LayerSummary | None, plain: LayerSummary | None) -> Text:
    if rounded is None or plain is None or rounded.collisions is None:
        return Text("–")
    shares = [
        f"{100 * part / whole:.0f}" if part is not None and whole else "–"
        for part, whole in (
            (rounded.margin_q, plain.margin_q),
            (rounded.colipschitz_q, plain.colipschitz_q),
        )
    ]
    style = "bold red" if rounded.collisions else ""
    return Text(f"{rounded.collisions} {'/'.join(shares)}", style=style)


def _worst(metric: Metric, layers: list[LayerSummary]) -> float | None:
    values = [value for layer in layers if (value := layer[metric.name]) is not None]
    if not metric.marked or len(set(values)) < 2:  # noqa: PLR2004 - equal values have no worst
        return None
    return min(values) if metric.better == "more" else max(values)


def _cell(metric: Metric, value: float | None, worst: float | None) -> Text:
    if value is None:
        return Text("–")
    # The mark is a character, not only a colour: logs have none.
    shown = metric.show(value)
    return Text(f"{shown}◄", style="bold red") if value == worst else Text(f"{shown} ")
