"""The decision on a model: one JSON file and one Markdown page beside it, with everything behind it.

The page lies beside the JSON file, with the suffix ``.md``; of a path that ends in ``.md`` the JSON file
lies beside the page.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_injectivity.config.report_target import ReportTarget
from pytest_injectivity.core.files import write_whole
from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.strict_json import plain
from pytest_injectivity.core.text import number_of
from pytest_injectivity.quantization.info import QuantizationInfo
from pytest_injectivity.reports.markup import cell_text, table_row
from pytest_injectivity.results.decision import Choice, Decision, Kept
from pytest_injectivity.results.run_results import RunResults
from pytest_injectivity.results.saved_runs import TOOL

_SCHEMA = 1
_UNDECIDED = Decision(obstacles=("nothing was decided: the run did not come to its end",))
_MOST_ROWS = 200
_MARKS = {
    Choice.SHIP: "✅",
    Choice.DO_NOT_SHIP: "❌",
    Choice.NOT_COMPARABLE: "⚠️",
    Kept.YES: "✅",
    Kept.NO: "❌",
    Kept.UNKNOWN: "⚠️",
}


@dataclass(frozen=True)
class _Verdict:
    """A verdict in short."""

    check: str
    status: str
    said: str


@dataclass(frozen=True)
class _Page:
    """What the JSON file holds beside its schema.

    Attributes:
        decision: the choice and the rules.
        model, reference: the names in the run; None where nothing was measured or compared.
        quantized: what was proved of the model's weights; None: no quantized weights.
        prompts, n, prompt_hash: of the prompts compared on.
        verdicts: of the run, in short.
        command: repeats the run.
    """

    decision: Decision
    model: str | None
    reference: str | None
    quantized: QuantizationInfo | None
    prompts: str | None
    n: int | None
    prompt_hash: str | None
    verdicts: tuple[_Verdict, ...]
    command: str


def write_report(path: Path, results: RunResults) -> None:
    """Write both files; each is written whole or not at all.

    Args:
        path: of the JSON file, or of the page where it ends in ``.md``.
        results: what the tests found, with the decision.

    Raises:
        OSError: a file cannot be written.
    """
    page = _page(results)
    report = {"schema": _SCHEMA, "tool": TOOL, "kind": "decision"} | plain(page)
    data, shown = ReportTarget("decision", str(path)).files
    write_whole(data, json.dumps(report, indent=1, allow_nan=False) + "\n")
    write_whole(shown, "\n".join(_lines(page)) + "\n")


def _page(results: RunResults) -> _Page:
    run, outcome = results.alone, results.outcome
    return _Page(
        decision=results.decision or _UNDECIDED,
        model=None if run is None else run.model,
        reference=None if run is None else run.reference,
        quantized=None if run is None else run.quantized,
        prompts=None if run is None else run.prompts,
        n=None if run is None else run.n,
        prompt_hash=None if run is None else run.prompt_hash,
        verdicts=tuple(
            _Verdict(one.check, str(one.status), one.first_line) for one in results.verdicts
        ),
        command="pytest" if outcome is None else outcome.command,
    )


def _lines(page: _Page) -> Iterator[str]:
    decision = page.decision
    model = "no model" if page.model is None else cell_text(page.model)
    yield f"# {_MARKS[decision.choice]} {decision.choice}: {model}"
    yield ""
    yield from (f"- {cell_text(one)}" for one in decision.obstacles)
    yield from _table(
        "Rules",
        ("", "rule", "measured"),
        [(_MARKS[one.kept], cell_text(one.rule), cell_text(one.said)) for one in decision.rules],
    )
    yield from _table("Models", ("", ""), list(_models(page)))
    yield from _table(
        "Evaluations",
        ("task", "metric", "model", "reference", "recovery", "±"),
        [
            (
                cell_text(one.task),
                cell_text(one.metric),
                show(one.model),
                show(one.reference),
                cell_text(one.reason) if one.value is None else show(one.value),
                "" if one.stderr is None else show(one.stderr, 2),
            )
            for one in decision.recoveries
        ],
    )
    yield from _table(
        "Verdicts",
        ("", "verdict"),
        [(cell_text(one.status), cell_text(one.said)) for one in page.verdicts],
    )


def _models(page: _Page) -> Iterator[tuple[str, str]]:
    decision = page.decision
    yield "model", cell_text(page.model or "none")
    yield "reference", cell_text(page.reference or "none")
    yield (
        "proved",
        cell_text("no quantized weights" if page.quantized is None else page.quantized.line),
    )
    if decision.size is not None:
        of = ""
        if decision.reference_size:
            share = show(decision.size / decision.reference_size, 3)
            of = f", {share} of the reference's {decision.reference_size:,}"
        yield "weights files", f"{decision.size:,} bytes{of}"
    if page.prompts is not None and page.prompt_hash is not None:
        yield "prompts", cell_text(f"{page.n} of {page.prompts} [{page.prompt_hash[:12]}]")
    for name, told in zip(("evaluated", "of the reference"), decision.evaluated, strict=False):
        yield name, cell_text(told or "not said")
    yield "command", cell_text(page.command)


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table under its title, its cells escaped already; none where there are no rows."""
    if not rows:
        return
    yield from ("", f"## {title}", "", table_row(header), table_row("---" for _ in header))
    yield from map(table_row, rows[:_MOST_ROWS])
    if (left := len(rows) - _MOST_ROWS) > 0:
        yield ""
        yield f"… and {number_of(left, 'more row')}, which the JSON file has."
