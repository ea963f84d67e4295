"""What the HTML page says, put together from the results of a run; the template only lays it out."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pytest_injectivity.reports.attack_table import attack_table
from pytest_injectivity.reports.cut_table import cut_table
from pytest_injectivity.reports.layer_table import bits_table, layer_table, run_table
from pytest_injectivity.reports.page.charts import Figure, HeatMap
from pytest_injectivity.reports.page.contractions import contraction_figures
from pytest_injectivity.reports.page.correlations import correlation_figures
from pytest_injectivity.reports.page.distances import distance_figures
from pytest_injectivity.reports.page.failures import (
    Failure,
    closest_pairs,
    failures,
    first_bad_layer,
    passed_charts,
)
from pytest_injectivity.reports.page.grids import grid_figures
from pytest_injectivity.reports.page.layers import Model, layer_figures, models, titled
from pytest_injectivity.reports.page.overview import overview
from pytest_injectivity.reports.page.parents import parent_figures
from pytest_injectivity.reports.page.recoveries import recovery_figures
from pytest_injectivity.reports.page.releases import RELEASES_NOTE, release_figures
from pytest_injectivity.reports.page.repetitions import repetition_figures
from pytest_injectivity.reports.page.side_by_side import model_figures
from pytest_injectivity.reports.page.sweeps import sweep_figures
from pytest_injectivity.reports.reference_table import reference_table
from pytest_injectivity.reports.release_table import release_table
from pytest_injectivity.reports.table import Cell, Column, Table
from pytest_injectivity.results.decision import Decision
from pytest_injectivity.results.outcome import NOT_ASSERTED, Outcome
from pytest_injectivity.results.run_results import RunResults
from pytest_injectivity.results.verdict import Verdict, counted

EVIDENCE = {
    "all": "",
    "red": "evidence of what passed",
    "few": "evidence, what passed, and all but the first few of what did not",
}
"""How much is shown of verdicts, each with what it leaves out."""

_MOST_CHECKS = 4
_OPEN_PAIRS = 6
_LAYERS_NOTE = (
    "Bars are the intervals of numbers that a verdict judged. A parent's line is the model's number over"
    " the share of it that is kept."
)


@dataclass(frozen=True)
class Section:
    """Figures under one heading.

    Attributes:
        id: of its place in the page.
        title: its heading.
        figures: at least one.
        note: what holds for all of them.
    """

    id: str
    title: str
    figures: tuple[Figure, ...]
    note: str = ""


@dataclass(frozen=True)
class Page:
    """The content of the page, from top to bottom.

    Attributes:
        red: whether the run is.
        headline: how it ended, and how many verdicts are not PASS.
        subject: the models.
        why: why the run is red.
        lead: names and texts of what stands first.
        command: repeats the first failure, or the run.
        decision: whether the model ships; None where that was not asked.
        rules: of the decision.
        overview: the verdicts by layer.
        failures: what is not PASS.
        models: that were measured.
        facts: on models and prompts, a column a model.
        figures: by section.
        pairs: of prompts that the evidence names.
        tables: the terminal's, with their titles.
        verdicts: all of them.
        said: sentences a person should see.
        versions: of the packages that computed the numbers.
        evidence: what is shown of verdicts, one of `EVIDENCE`.
    """

    red: bool
    headline: str
    subject: str
    why: tuple[str, ...]
    lead: tuple[tuple[str, str], ...]
    command: str
    decision: Decision | None
    rules: Table
    overview: tuple[HeatMap, ...]
    failures: tuple[Failure, ...]
    models: tuple[Model, ...]
    facts: Table | None
    figures: tuple[Section, ...]
    pairs: Table
    tables: tuple[tuple[str, Table], ...]
    verdicts: tuple[Verdict, ...]
    said: tuple[str, ...]
    versions: str
    evidence: str = "all"

    @property
    def left_out(self) -> str:
        """What the page leaves out of verdicts; empty where it has all."""
        return EVIDENCE[self.evidence]

    @property
    def first_pairs(self) -> Table:
        """The pairs that stand open: every layer may name one."""
        return replace(self.pairs, rows=self.pairs.rows[:_OPEN_PAIRS])

    @property
    def more_pairs(self) -> Table:
        """The pairs that are folded away."""
        return replace(self.pairs, rows=self.pairs.rows[_OPEN_PAIRS:])

    @property
    def audited(self) -> str:
        """The heading of what was audited."""
        return f"{'Models' if len(self.models) > 1 else 'Model'} and prompts"

    @property
    def attacked(self) -> bool:
        """Whether attackers looked for prompts."""
        return _attacked(self.models)

    @property
    def sections(self) -> tuple[tuple[str, str], ...]:
        """The names of the sections that there are, and their places."""
        every = (
            ("Decision", "decision", self.decision is not None),
            ("Verdicts by layer", "overview", bool(self.overview)),
            ("Not passed", "failures", bool(self.failures)),
            (self.audited, "audited", self.facts is not None),
            *((one.title, one.id, True) for one in self.figures),
            ("Closest pairs", "pairs", bool(self.pairs.rows)),
            ("Tables", "tables", bool(self.tables)),
            ("Every verdict", "verdicts", bool(self.verdicts)),
            ("Notes", "notes", bool(self.said)),
        )
        return tuple((name, id_) for name, id_, there in every if there)


def contents(results: RunResults) -> Page:
    """The page of a run."""
    outcome = results.outcome or Outcome(0)
    found = failures(results)
    every = models(results.parts)
    runs = [one.results.run for one in every if one.results.run is not None]
    commands = [command for one in found for command in one.reproduce]
    return Page(
        red=outcome.red,
        headline=f"{outcome.ended.capitalize()}: {counted(results.verdicts)}",
        subject=", ".join(dict.fromkeys(run.model for run in runs)),
        why=_why(results, outcome),
        lead=tuple(_lead(results, found)),
        command=commands[0] if commands else outcome.command,
        decision=results.decision,
        rules=_rules(results.decision),
        overview=overview(every, results.verdicts),
        failures=found,
        models=every,
        facts=_facts(every),
        figures=_sections(every, results),
        pairs=_pairs(results),
        tables=tuple(_tables(every)),
        verdicts=results.verdicts,
        said=results.said,
        versions=", ".join(f"{name} {text}" for name, text in runs[0].versions.items())
        if runs
        else "",
    )


def _why(results: RunResults, outcome: Outcome) -> tuple[str, ...]:
    if outcome.red or all(verdict.passed for verdict in results.verdicts):
        return outcome.why
    return (NOT_ASSERTED,)


def _lead(results: RunResults, found: tuple[Failure, ...]) -> Iterator[tuple[str, str]]:
    """What failed, where, and what would have passed; of a green run what was judged."""
    if results.decision is not None:
        yield "Decision", results.decision.line
    if not found:
        checks = dict.fromkeys(verdict.check for verdict in results.verdicts)
        layers = {layer.layer for _, part in results.parts for layer in part.layers}
        yield "Checks", _listed(list(checks)) or "none"
        yield "Layers measured", str(len(layers))
        return
    names = list(dict.fromkeys(one.check for one in found if one.asserted)) or list(
        dict.fromkeys(one.check for one in found)
    )
    yield "What failed", _listed(names)
    if first := first_bad_layer(found):
        yield "First bad layer", f"{first[0]} ({first[1]})"
    reason = found[0].first
    if reason is not None:
        yield f"{found[0].check}, {reason.where}", reason.summary
        if reason.would_pass:
            yield "Would have passed", reason.would_pass


def _listed(names: list[str]) -> str:
    """The first few names; the page has all further down."""
    more = f" and {len(names) - _MOST_CHECKS} more" if len(names) > _MOST_CHECKS else ""
    return ", ".join(names[:_MOST_CHECKS]) + more


def _rules(decision: Decision | None) -> Table:
    columns = tuple(Column(title, number=False) for title in ("rule", "", "measured"))
    rules = () if decision is None else decision.rules
    return Table(columns, tuple((Cell(one.rule), Cell(one.kept), Cell(one.said)) for one in rules))


def _facts(every: tuple[Model, ...]) -> Table | None:
    """What was audited, a column a model, so that models are read side by side."""
    known = [(one.name, dict(_told(one))) for one in every if one.results.run is not None]
    if not known:
        return None
    titles = ("", *(name for name, _ in known)) if len(known) > 1 else ("", "")
    names = dict.fromkeys(name for _, told in known for name in told)
    rows = tuple((Cell(name), *(Cell(told.get(name, "–")) for _, told in known)) for name in names)
    return Table(tuple(Column(title, number=False) for title in titles), rows)


def _told(one: Model) -> Iterator[tuple[str, str]]:
    """What is told of a model, each under its name; lines without a name go on with the one before."""
    run = one.results.run
    if run is None:
        return
    name, lines = "", list[str]()
    for cells in run_table(run).rows:
        if cells[0].text and lines:
            yield name, "; ".join(lines)
            lines = []
        name = cells[0].text or name
        lines.append(cells[1].text)
    yield name, "; ".join(lines)
    if run.size is not None:
        parents = f", the parent's {run.reference_size:,}" if run.reference_size else ""
        yield "weights files", f"{run.size:,} bytes{parents}"
    yield "distance of prompts, seed", f"{run.prompt_metric}, {run.seed}"


def _attacked(every: tuple[Model, ...]) -> bool:
    return any(one.results.releases for one in every)


def _sections(every: tuple[Model, ...], results: RunResults) -> tuple[Section, ...]:
    looks = {one.label: (one.name, one.look) for one in every}
    sections = (
        Section(
            "layers",
            "Layer by layer",
            (
                *distance_figures(every, results.verdicts),
                *layer_figures(every, results.verdicts),
                *grid_figures(every),
                *repetition_figures(every, results.verdicts),
                *contraction_figures(every, results.verdicts),
                *correlation_figures(every),
                *model_figures(every),
            ),
            _LAYERS_NOTE,
        ),
        Section("sweeps", "By length, by model, by bits", sweep_figures(results.sweeps)),
        Section("parent", "Against the parent", parent_figures(every)),
        Section("judged", "Judged, and passed", tuple(passed_charts(results, looks))),
        Section(
            "given",
            "What states and releases give away",
            (*recovery_figures(every, results.verdicts), *release_figures(every, results.verdicts)),
            RELEASES_NOTE if _attacked(every) else "",
        ),
    )
    return tuple(one for one in sections if one.figures)


def _pairs(results: RunResults) -> Table:
    several = bool(results.models)
    titles = (*(("model",) if several else ()), "layer", "check", "pair")
    rows = tuple(
        tuple(map(Cell, row if several else row[1:])) for row in closest_pairs(results.verdicts)
    )
    return Table(tuple(Column(title, number=False) for title in titles), rows)


def _tables(every: tuple[Model, ...]) -> Iterator[tuple[str, Table]]:
    """The terminal's tables, each under a name."""
    for one in every:
        results = one.results
        if one.plain:
            yield titled("Layers", one, every), layer_table(one.plain.values())
        if len(results.layers) > len(one.plain):
            table = bits_table(results.layers)
            yield titled(table.title[:1].upper() + table.title[1:], one, every), table
        if results.comparisons:
            yield titled("Against the parent", one, every), reference_table(results.comparisons)
        if results.releases:
            yield titled("Releases", one, every), release_table(results.releases)
            yield titled("Attackers", one, every), attack_table(results.releases)
        cuts = cut_table(results.releases)
        if cuts is not None:
            yield titled("Cuts", one, every), cuts
