"""The results of a run, put together from the reports of its tests.

A test's findings travel as JSON texts, properties of its report, so that a run without workers and one
with four take the same path. `gather` makes one `RunResults` of them. Its order is that of the
collected tests and of the layers' depth, whichever worker was first: the same run gives the same
results.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

from pytest_injectivity.core.strict_json import loads
from pytest_injectivity.quantization.grid import Grid
from pytest_injectivity.results.changes import label_depth
from pytest_injectivity.results.decision import Decision
from pytest_injectivity.results.outcome import Outcome
from pytest_injectivity.results.releases import ReleaseKey, ReleaseSummary
from pytest_injectivity.results.run_origin import RunOrigin
from pytest_injectivity.results.summary import Comparison, LayerKey, LayerSummary, RunSummary
from pytest_injectivity.results.sweeps import Sweep
from pytest_injectivity.results.told import Told
from pytest_injectivity.results.verdict import Verdict

_MEASURED = ("run", "layer", "comparison", "release")
_Summary = TypeVar("_Summary", RunSummary, Comparison)


@dataclass(frozen=True, kw_only=True)
class ModelResults:
    """What was measured of one model.

    Attributes:
        run: what was audited; None where nothing was.
        layers: the measured layers, shallow first; of one layer the unrounded states first.
        releases: what was measured of releases, in the order of the tests that asked for it.
        comparisons: the comparisons of layers with the parent's, shallow first.
    """

    run: RunSummary | None = None
    layers: tuple[LayerSummary, ...] = ()
    releases: tuple[ReleaseSummary, ...] = ()
    comparisons: tuple[Comparison, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NamedResults(ModelResults):
    """What was measured of one model of several.

    Attributes:
        name: of the model, as in the names of tests and in verdicts.
    """

    name: str


@dataclass(frozen=True, kw_only=True)
class RunResults(ModelResults):
    """What the tests of a run found, and how it ended.

    Attributes:
        complete: False where a worker was lost or the run was interrupted.
        models: what was measured of models that have a name; a run of one model has none.
        verdicts: in the order of the tests.
        said: sentences a person should see.
        wrong_use: messages about what could not be done.
        outcome: how the run ended; None: it has not.
        decision: whether the model ships; None where that was not asked.
        origin: when the run was made, and at which commit; None: it is not known.
        sweeps: the curves that tests handed to the reports, each once.
    """

    complete: bool = True
    verdicts: tuple[Verdict, ...] = ()
    said: tuple[str, ...] = ()
    wrong_use: tuple[str, ...] = ()
    outcome: Outcome | None = None
    models: tuple[NamedResults, ...] = ()
    decision: Decision | None = None
    origin: RunOrigin | None = None
    sweeps: tuple[Sweep, ...] = ()

    @property
    def compared(self) -> bool:
        """Whether anything was measured or judged."""
        measured = any(one.layers or one.releases or one.comparisons for _, one in self.parts)
        return bool(self.verdicts) or measured

    @property
    def parts(self) -> tuple[tuple[str, ModelResults], ...]:
        """What was measured of each model, with its name: an empty one of the model without a name."""
        own = (("", self),) if self.run is not None or not self.models else ()
        return (*own, *((one.name, one) for one in self.models))

    @property
    def alone(self) -> RunSummary | None:
        """The summary of the one model that was measured; None where there is none, or are several."""
        runs = [one.run for _, one in self.parts if one.run is not None]
        return runs[0] if len(runs) == 1 else None


def gather(told: Iterable[Told]) -> RunResults:
    """The results of a run from everything that its tests said.

    A layer or release that two workers measured is there once. A comparison has what any of them knows.

    Raises:
        OptionError: a text does not hold what its kind says.
    """
    ordered = sorted(told, key=lambda one: one.at)
    measured = [one for one in ordered if one.kind in _MEASURED]
    parts = {
        name: _measured([one for one in measured if one.model == name]) for name in _names(measured)
    }
    alone = parts.pop("", ModelResults())
    return RunResults(
        run=alone.run,
        layers=alone.layers,
        releases=alone.releases,
        comparisons=alone.comparisons,
        models=tuple(
            NamedResults(
                name=name,
                run=one.run,
                layers=one.layers,
                releases=one.releases,
                comparisons=one.comparisons,
            )
            for name, one in parts.items()
        ),
        verdicts=tuple(loads(Verdict, text, "verdict") for text in _of(ordered, "verdict")),
        said=tuple(dict.fromkeys(_of(ordered, "said"))),
        sweeps=tuple(loads(Sweep, text, "sweep") for text in dict.fromkeys(_of(ordered, "sweep"))),
    )


def _names(told: Sequence[Told]) -> tuple[str, ...]:
    """The names of the models, in the order of the tests."""
    return tuple(dict.fromkeys(one.model for one in told))


def _measured(told: Sequence[Told]) -> ModelResults:
    """What the tests measured of one model."""
    run: RunSummary | None = None
    layers: dict[LayerKey, LayerSummary] = {}
    comparisons: dict[str, Comparison] = {}
    releases: dict[ReleaseKey, ReleaseSummary] = {}
    for text in _of(told, "run"):
        run = _merged(run, loads(RunSummary, text, "run"))
    for text in _of(told, "layer"):
        layer = loads(LayerSummary, text, "layer")
        layers[layer.key] = _joined(layers.get(layer.key), layer)
    for text in _of(told, "comparison"):
        one = loads(Comparison, text, "comparison")
        comparisons[one.layer] = _merged(comparisons.get(one.layer), one)
    for text in _of(told, "release"):
        release = loads(ReleaseSummary, text, "release")
        releases.setdefault(release.key, release)
    return ModelResults(
        run=run,
        layers=tuple(sorted(layers.values(), key=_finest_first)),
        releases=tuple(releases.values()),
        comparisons=tuple(sorted(comparisons.values(), key=lambda one: label_depth(one.layer))),
    )


def _of(told: Sequence[Told], kind: str) -> list[str]:
    return [one.text for one in told if one.kind == kind]


def _merged(known: _Summary | None, new: _Summary) -> _Summary:
    """The newer of two summaries, with what only the older one knows."""
    if known is None:
        return new
    missing = {
        one.name: older
        for one in fields(new)
        if getattr(new, one.name) is None and (older := getattr(known, one.name)) is not None
    }
    if isinstance(known, RunSummary) and isinstance(new, RunSummary):
        missing["numbers"] = _origin(known.numbers, new.numbers)
    return replace(new, **missing)


def _joined(known: LayerSummary | None, new: LayerSummary) -> LayerSummary:
    """The newer of two summaries, with the claims that the older one knows better."""
    if known is None or known.certificate is None:
        return new
    return replace(new, certificate=known.certificate.joined(new.certificate))


def _origin(first: str, second: str) -> str:
    """Where the numbers of two processes come from."""
    return first if first == second else "computed, in part from the store"


def _finest_first(layer: LayerSummary) -> tuple[tuple[int, int, str], int, str]:
    bits = 0 if layer.bits is None else -Grid.parse(layer.bits).bits
    unrounded_first = -100 if layer.bits is None else bits
    return label_depth(layer.layer), unrounded_first, str(layer.bits)
