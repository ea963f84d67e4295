"""The numbers of a run as a file keeps them: a saved JSON report, or a baseline in git.

Either may come from anybody and may have been edited by hand or by a merge, so every value is checked
before anything is made of it. Neither holds a prompt or a token id, nor a baseline a path.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pytest_injectivity.core import strict_json as strict
from pytest_injectivity.core.text import one_line
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.changes import Numbers, recorded_names
from pytest_injectivity.results.measured import flat
from pytest_injectivity.results.metrics import metric_of
from pytest_injectivity.results.run_results import ModelResults, RunResults
from pytest_injectivity.results.summary import LayerSummary, RunSummary

TOOL = "pytest-injectivity"
"""Who wrote a file, as it says itself."""
REPORT_SCHEMA = 1
"""Of JSON reports: raised when a field changes its meaning or goes; new fields do not raise it."""
SCHEMA = 1
"""Of baselines, likewise."""
RESOLUTION = 1e-5
"""A baseline keeps six significant digits: a smaller share of a number is no difference."""
SAME = ("n", "prompt_hash", "prompt_metric", "special_tokens", "seed")
"""What must be equal for numbers to be compared at all (SPEC section 2, "Intervals")."""

_BASELINE = "baseline"
_DIGITS = 6
_LABEL = re.compile(r"(layer\d{2,6}|norm)( rounded to [ -~]{1,60})?", re.ASCII)
_RUNG = re.compile(r"\d{1,6}(\.\d{1,9})?(e[+-]\d{1,3})?", re.ASCII)
_ACCEPTED = "give a report of --injx-report=json:PATH, or a baseline"


@dataclass(frozen=True)
class Stamp:
    """What the numbers of a run belong to.

    Attributes:
        model: its name; in a baseline never a path.
        dtype, device: what it computed in, and where.
        family, n_layers, hidden, vocab: of the model.
        prompts, n, prompt_hash, special_tokens: of the prompt set.
        prompt_metric: ``d_S``.
        seed: of everything random.
        revision: the commit of a hub id.
        quantized: how the weights were rounded, such as ``bnb-nf4``; None for full precision.
        activations: the grid that activations are rounded to as the model runs; None where none is.
        versions: of the packages that computed the numbers.
    """

    model: str
    dtype: str
    device: str
    family: str
    n_layers: int
    hidden: int
    vocab: int
    prompts: str
    n: int
    prompt_hash: str
    special_tokens: bool
    prompt_metric: str
    seed: int
    revision: str | None = None
    quantized: str | None = None
    activations: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, int) and value < 0:
                raise OptionError(f"{one.name} is {value}, which is no number of at least 0")
            # It may come from a file, and goes into messages.
            if isinstance(value, str):
                object.__setattr__(self, one.name, one_line(value))
        versions = {one_line(name): one_line(version) for name, version in self.versions.items()}
        object.__setattr__(self, "versions", versions)

    @classmethod
    def of(cls, run: RunSummary) -> "Stamp":
        """The stamp of a run: how it was rounded by name alone, and nothing of a machine's paths."""
        own = {one.name: getattr(run, one.name) for one in fields(cls)}
        kind = None if run.quantized is None else run.quantized.kind
        grid = None if run.activations is None else run.activations.grid
        return cls(**{**own, "quantized": kind, "activations": grid})

    def differences(self, other: "Stamp", names: Sequence[str]) -> list[tuple[str, str, str]]:
        """Of the fields named those that differ: name, value here, value there, short texts."""
        return [
            (name, _shortened(getattr(self, name)), _shortened(getattr(other, name)))
            for name in names
            if getattr(self, name) != getattr(other, name)
        ]


@dataclass(frozen=True)
class Recorded:
    """The numbers of a run.

    Attributes:
        stamp: what they belong to.
        layers: by label, ``layer04`` or ``layer04 rounded to 4``.
        baseline: whether they come from a baseline, and not from a report.
    """

    stamp: Stamp
    layers: Mapping[str, Numbers]
    baseline: bool = False

    @property
    def resolution(self) -> float:
        """The share of itself to which a number is known."""
        return RESOLUTION if self.baseline else 0.0


def read_recorded(path: Path) -> Recorded:
    """A saved report of one model, or a baseline.

    Raises:
        OptionError: there is no such file, or it is damaged or of something else, or of several models.
    """
    found = read_models(path)
    if len(found) == 1:
        return next(iter(found.values()))
    names = ", ".join(found)
    raise OptionError(f"{one_line(str(path))}: it is of several models ({names}): {_ACCEPTED}")


def read_models(path: Path) -> dict[str, Recorded]:
    """The numbers of each model of a saved report, or of a baseline, by the model's name.

    A model that the run gave no name has the last part of its path.

    Raises:
        OptionError: there is no such file, or it is damaged or of something else.
    """
    try:
        return _recorded(strict.read_object(path))
    except OptionError as error:
        raise OptionError(f"{one_line(str(path))}: {error}: {_ACCEPTED}") from None


def read_report(path: Path) -> RunResults:
    """Everything that a saved report says, also of a run that is not complete.

    Raises:
        OptionError: there is no such file, or it is damaged or of something else.
    """
    try:
        return _whole(strict.read_object(path))
    except OptionError as error:
        raise OptionError(
            f"{one_line(str(path))}: {error}: give a report of --injx-report=json:PATH"
        ) from None


def read_baseline(path: Path) -> Recorded | None:
    """The baseline in a file; None where there is no file.

    Raises:
        OptionError: the file is damaged, or holds something else.
    """
    if not path.exists():
        return None
    recorded = read_recorded(path)
    if not recorded.baseline:
        raise OptionError(f"{one_line(str(path))}: it is the report of a run and no baseline")
    return recorded


def baseline_text(recorded: Recorded) -> str:
    """The file of a baseline: sorted, one number a line.

    Raises:
        OptionError: a number is not finite, or of no metric.
    """
    for label, numbers in recorded.layers.items():
        _checked(label, numbers)
    plain = {"schema": SCHEMA, "tool": TOOL, "kind": _BASELINE} | strict.plain(
        _Baseline(recorded.stamp, recorded.layers)
    )
    return json.dumps(plain, indent=1, sort_keys=True, allow_nan=False) + "\n"


def label_of(layer: str, bits: object) -> str:
    """``layer04``, or ``layer04 rounded to 4`` of activations rounded after capture."""
    return layer if bits is None else f"{layer} rounded to {bits}"


def numbers_of(layer: LayerSummary) -> dict[str, float]:
    """The numbers of a layer that are recorded; those that were not measured are left out.

    A metric with rungs has a number for each, ``near_fractions 0.01``.
    """
    return flat({name: layer.numbers[name] for name in recorded_names()})


def rounded(numbers: Numbers) -> dict[str, float]:
    """The numbers with the digits that a baseline keeps; counts are kept as they are."""
    return {
        name: value if isinstance(value, int) else float(f"{value:.{_DIGITS}g}")
        for name, value in numbers.items()
    }


@dataclass(frozen=True)
class _Baseline:
    """A baseline's file, apart from what says that it is one."""

    audited: Stamp
    layers: Mapping[str, Numbers]


def is_report(found: Mapping[str, Any]) -> bool:
    """Whether a JSON object is, as it says itself, the report of a run, and not a baseline."""
    return found.get("tool") == TOOL and "kind" not in found


def _whole(found: dict[str, Any]) -> RunResults:
    if found.get("tool") == TOOL and not is_report(found):
        raise OptionError(f"it is a {strict.said(found['kind'])}, and not the report of a run")
    return report_of(found)


def report_of(found: dict[str, Any]) -> RunResults:
    """The results that the JSON object of a report describes; its keys are taken out.

    Raises:
        OptionError: it is no report, or one of another version.
    """
    _check_tool(found)
    _check_schema(found.pop("schema", None), REPORT_SCHEMA)
    return strict.build(RunResults, found)


def recorded_of(results: RunResults) -> dict[str, Recorded]:
    """The numbers of each model of a run, by the model's name.

    Raises:
        OptionError: the run is not complete, measured nothing, or has a number that is none.
    """
    if not results.complete:
        raise OptionError("the run is not complete: it lost a worker or was interrupted")
    found: dict[str, Recorded] = {}
    for given, one in results.parts:
        if one.run is None:
            continue
        name = model_name(given, one.run.model)
        if name in found:
            raise OptionError(f"model {name} is there twice")
        found[name] = Recorded(Stamp.of(one.run), _layers(one))
    if not found:
        raise OptionError("the run measured nothing")
    return found


def model_name(given: str, model: str) -> str:
    """The name that a run gave a model, or else the last part of its path."""
    return one_line(given or model.replace("\\", "/").rstrip("/").rpartition("/")[2])


def _recorded(found: dict[str, Any]) -> dict[str, Recorded]:
    if found.get("kind") != _BASELINE:
        return recorded_of(report_of(found))
    _check_tool(found)
    _check_schema(found.pop("schema", None), SCHEMA)
    del found["kind"]
    baseline = strict.build(_Baseline, found)
    layers = {_label(one): _checked(one, numbers) for one, numbers in baseline.layers.items()}
    return {
        model_name("", baseline.audited.model): Recorded(baseline.audited, layers, baseline=True)
    }


def _layers(results: ModelResults) -> dict[str, Numbers]:
    layers: dict[str, Numbers] = {}
    for layer in results.layers:
        label = _label(label_of(*layer.key))
        if label in layers:
            raise OptionError(f"{label} is there twice")
        layers[label] = _checked(label, numbers_of(layer))
    return layers


def _check_tool(found: dict[str, Any]) -> None:
    if found.pop("tool", None) != TOOL:
        raise OptionError(f"it was not written by {TOOL}")


def _check_schema(schema: object, accepted: int) -> None:
    if isinstance(schema, bool) or schema != accepted:
        raise OptionError(
            f"it has schema {strict.said(schema)}, and this version reads schema {accepted}"
        )


def _label(label: str) -> str:
    if _LABEL.fullmatch(label):
        return label
    raise OptionError(f"{strict.said(label)} is no layer, such as layer04 or norm")


def _checked(label: str, numbers: Numbers) -> Numbers:
    """The numbers of a layer, each of a metric that is recorded, finite and at least 0."""
    for name, value in numbers.items():
        metric, gap, rung = name.partition(" ")
        if metric not in recorded_names() or (gap and not _RUNG.fullmatch(rung)):
            known = ", ".join(recorded_names())
            raise OptionError(f"{label}: {strict.said(name)} is no number of a layer: {known} are")
        metric_of(name)
        if not 0 <= value < math.inf:
            raise OptionError(
                f"{label}: {name} is {strict.said(value)}, which is no finite number of at least 0"
            )
    return numbers


def _shortened(value: object) -> str:
    """A value as messages show it: twelve digits say which hash it is."""
    shown = "none" if value is None else str(value)
    hexadecimal = re.fullmatch(r"[0-9a-f]{40,}", shown)
    return shown[:12] if hexadecimal else shown
