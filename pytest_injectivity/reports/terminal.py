"""The table a person sees at the end of a run: one row a layer, the worst of each number marked."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pytest_injectivity.summary import LayerSummary, RunSummary
from pytest_injectivity.verdict import show

if TYPE_CHECKING:
    from pytest_injectivity.run import Findings


@dataclass(frozen=True)
class Column:
    """A number of a layer.

    Attributes:
        title: its heading.
        value: where it is.
        worst: which of its values is the worst; None: no value is.
    """

    title: str
    value: Callable[[LayerSummary], float | None]
    worst: Literal["smallest", "largest"] | None = None


COLUMNS = (
    Column("norm", lambda layer: layer.mean_norm),
    Column("colliding", lambda layer: layer.collisions, "largest"),
    Column("noise", lambda layer: layer.noise),
    Column("margin", lambda layer: layer.margin),
    Column("1 %", lambda layer: layer.margin_q),
    Column("/norm", lambda layer: layer.normalized_margin_q, "smallest"),
    Column("co-Lip 1 %", lambda layer: layer.colipschitz_q),
    Column("/norm", lambda layer: layer.normalized_colipschitz_q, "smallest"),
)
_DIGITS = 3


def write_summary(findings: "Findings", terminal: pytest.TerminalReporter) -> None:
    """Write the run's description, its layers and its verdicts to pytest's terminal.

    Args:
        findings: what the tests found.
        terminal: pytest's reporter; its width and colour are kept to.
    """
    for line in summary_lines(findings, terminal._tw.fullwidth, color=terminal._tw.hasmarkup):  # noqa: SLF001 - pytest names no public way to its width
        terminal.write_line(line)


def summary_lines(findings: "Findings", width: int, *, color: bool) -> list[str]:
    """The summary as lines of at most ``width`` columns."""
    console = Console(width=width, force_terminal=color, color_system="standard" if color else None)
    with console.capture() as captured:
        if findings.run is not None:
            console.print(run_grid(RunSummary(**findings.run)))
        if findings.layers:
            layers = [LayerSummary(**layer) for layer in findings.layers.values()]
            console.print(layer_table(layers))
        for line in (*verdict_lines(findings.verdicts), *findings.said):
            console.print(Text(line))
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
    grid.add_row(
        "prompts",
        Text(
            f"{run.n} of {run.prompts} [{run.prompt_hash[:12]}], {run.shortest} to {run.longest}"
            f" tokens, {special} special tokens; dropped: {dropped or 'none'}"
        ),
    )
    grid.add_row("assumed", Text(run.assumptions))
    return grid


def layer_table(layers: Iterable[LayerSummary]) -> Table:
    """One row a layer, shallow first; the worst value of a column is marked."""
    ordered = sorted(layers, key=lambda layer: (layer.layer == "norm", layer.layer))
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    table.add_column("layer")
    for column in COLUMNS:
        table.add_column(column.title, justify="right")
    worst = {column: _worst(column, ordered) for column in COLUMNS}
    for layer in ordered:
        cells = [_cell(column.value(layer), column.value(layer) == worst[column]) for column in COLUMNS]
        name = f"{layer.layer} ({layer.not_finite} not finite)" if layer.not_finite else layer.layer
        table.add_row(Text(name), *cells)
    return table


def verdict_lines(verdicts: Iterable[Mapping[str, Any]]) -> list[str]:
    """The first line of each verdict that is not PASS, and how many are."""
    verdicts = list(verdicts)
    passed = sum(verdict["status"] == "PASS" for verdict in verdicts)
    lines = [str(verdict["first_line"]) for verdict in verdicts if verdict["status"] != "PASS"]
    return [*lines, f"{passed} of {len(verdicts)} verdicts PASS"] if verdicts else []


def _worst(column: Column, layers: list[LayerSummary]) -> float | None:
    values = [value for layer in layers if (value := column.value(layer)) is not None]
    if column.worst is None or len(set(values)) < 2:  # noqa: PLR2004 - equal values have no worst
        return None
    return min(values) if column.worst == "smallest" else max(values)


def _cell(value: float | None, worst: bool) -> Text:  # noqa: FBT001 - private
    if value is None:
        return Text("–")
    # The mark is a character, not only a colour: logs have none.
    shown = show(value, _DIGITS)
    return Text(f"{shown}◄", style="bold red") if worst else Text(f"{shown} ")
