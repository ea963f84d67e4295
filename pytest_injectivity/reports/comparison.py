"""Two saved runs side by side: what changed at each layer, in percent. No torch, no model."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.text import Text

from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.text import number_of, one_line
from pytest_injectivity.errors import OptionError
from pytest_injectivity.reports.drawing import WIDEST, draw, printed, table_lines
from pytest_injectivity.reports.table import (
    MISSING,
    WORST,
    Cell,
    Column,
    Table,
    Tone,
    facts,
)
from pytest_injectivity.reports.workflow import harmless, in_workflow
from pytest_injectivity.results.changes import (
    Change,
    Fate,
    Shares,
    changes,
    label_depth,
)
from pytest_injectivity.results.metrics import by_metric, legend, metric_of, title_of
from pytest_injectivity.results.saved_runs import SAME, Recorded, Stamp

_SHOWN = ("model", "revision", "quantized", "activations", "dtype", "device", "prompts", "n")
_ARCHITECTURE = ("family", "n_layers", "hidden", "vocab")
_LEGEND = (
    "change in %, counts as was>is; {meanings}; ◄ worse beyond the tolerance, + better beyond it, –"
    " not in both"
)

Layers = Mapping[str, Sequence[Change]]


def compare(was: Recorded, now: Recorded, tolerances: Shares) -> Layers:
    """The changes of every layer that either run has, shallow first.

    A layer that only one of them has, has numbers on one side only: lost ones are worse.

    Raises:
        OptionError: the runs differ in what makes numbers comparable, or have no layer in common.
    """
    if differing := was.stamp.differences(now.stamp, SAME):
        what = "; ".join(f"{name} {one} and {other}" for name, one, other in differing)
        raise OptionError(
            f"the runs differ in {what}: only numbers of the same prompts, metric and seed are compared"
        )
    common = was.layers.keys() & now.layers.keys()
    if not any(was.layers[label].keys() & now.layers[label].keys() for label in common):
        raise OptionError(
            f"the runs have no number in common: one has {_listed(was)}, the other {_listed(now)}"
        )
    labels = sorted({*was.layers, *now.layers}, key=label_depth)
    return {
        label: changes(was.layers.get(label, {}), now.layers.get(label, {}), tolerances)
        for label in labels
    }


def worse(layers: Layers) -> list[str]:
    """A line for each number that is worse beyond its tolerance, and for each layer that is gone."""
    lines = []
    for label, every in layers.items():
        if every and all(change.now is None for change in every):
            lines.append(f"{label}: gone: the second run did not measure it")
            continue
        lines += [_line(label, change) for change in every if change.fate is Fate.WORSE]
    return lines


def comparison_text(
    was: Recorded, now: Recorded, layers: Layers, *, width: int, color: bool
) -> str:
    """The whole answer as text: what was compared, the table, what is worse."""
    bad = worse(layers)
    numbers = sum(
        change.was is not None and change.now is not None
        for every in layers.values()
        for change in every
    )
    verdict = (
        f"{len(bad)} worse beyond the tolerance" if bad else "nothing is worse beyond the tolerance"
    )
    counted = (
        f"{number_of(numbers, 'number')} of {number_of(len(layers), 'layer')} compared: {verdict}"
    )
    lines = printed(draw(_stamps(was.stamp, now.stamp)), width, color=color)
    lines += table_lines(_table(layers), width, color=color)
    for line in bad:
        lines += printed(Text(line, style="bold red"), WIDEST, color=color)
    lines += printed(Text(counted), WIDEST, color=color)
    return "\n".join(map(harmless, lines) if in_workflow() else lines)


def model_line(name: str, said: str = "") -> str:
    """A line that begins with a model's name, which may come from a file."""
    line = f"model {name}: {said}" if said else f"model {name}"
    return harmless(line) if in_workflow() else line


def file_line(was: Path, now: Path) -> str:
    """A line that says which of several runs is compared with the first."""
    line = f"{one_line(str(now))} against {one_line(str(was))}"
    return harmless(line) if in_workflow() else line


def _stamps(was: Stamp, now: Stamp) -> Table:
    rows = []
    names = [*_SHOWN, *(name for name in _ARCHITECTURE if getattr(was, name) != getattr(now, name))]
    for name in names:
        one, other = getattr(was, name), getattr(now, name)
        if one is not None or other is not None:
            same = one == other
            rows.append((name, _value(one) if same else f"{_value(one)} -> {_value(other)}"))
    packages = sorted({*was.versions, *now.versions})
    moved = [
        f"{package} {was.versions.get(package, 'none')} -> {now.versions.get(package, 'none')}"
        for package in packages
        if was.versions.get(package) != now.versions.get(package)
    ]
    if moved:
        rows.append(("versions", ", ".join(moved)))
    return facts(rows)


def _value(value: object) -> str:
    return "none" if value is None else str(value)


def _table(layers: Layers) -> Table:
    names = _columns(layers)
    rows = []
    for label, every in layers.items():
        by_name = {change.name: change for change in every}
        rows.append((Cell(label), *(_cell(by_name.get(name)) for name in names)))
    columns = (Column("layer", number=False), *(Column(title_of(name)) for name in names))
    return Table(columns, tuple(rows), notes=(_legend(layers),), marks=True)


def _legend(layers: Layers) -> str:
    metrics = dict.fromkeys(metric_of(number) for number in _columns(layers))
    return _LEGEND.format(meanings=legend(metrics))


def _columns(layers: Layers) -> list[str]:
    """The numbers worth a column: of those that are zero everywhere there is nothing to see."""
    every = [change for changes_of_one in layers.values() for change in changes_of_one]
    found = {
        change.name
        for change in every
        if change.was or change.now or change.name in ("collisions", "margin_q")
    }
    return sorted(found, key=by_metric)


def _cell(change: Change | None) -> Cell:
    if change is None:
        return Cell(MISSING)
    if change.was is None or change.now is None:
        return _marked(MISSING, change) if change.fate is Fate.WORSE else Cell(MISSING)
    if metric_of(change.name).counted or change.share is None:
        same = change.was == change.now
        shown = show(change.now) if same else f"{show(change.was)}>{show(change.now)}"
    else:
        shown = f"{100 * change.share:+.1f}"
    return _marked(shown, change)


def _marked(shown: str, change: Change) -> Cell:
    marks: dict[Fate, tuple[str, Tone]] = {Fate.WORSE: (WORST, "bad"), Fate.BETTER: ("+", "good")}
    return Cell(shown, *marks.get(change.fate, ("", "")))


def _line(label: str, change: Change) -> str:
    if change.now is None:
        return f"{label}: {change.words}: the second run did not measure it"
    return f"{label}: {change.words}, wants {change.relation} {show(change.bound)}"


def _listed(recorded: Recorded) -> str:
    labels = sorted(recorded.layers, key=label_depth)
    return f"{labels[0]} to {labels[-1]}" if labels else "none"
