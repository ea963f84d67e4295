"""A run of the past: of a saved report what a history looks at, and no more."""

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.changes import Numbers
from pytest_injectivity.results.metrics import METRICS
from pytest_injectivity.results.run_origin import RunOrigin
from pytest_injectivity.results.run_results import ModelResults, RunResults
from pytest_injectivity.results.saved_runs import Recorded, Stamp, label_of, model_name, recorded_of
from pytest_injectivity.results.verdict import Status, Verdict

LARGEST = 1e100
"""A larger number is none that was measured, and sums of such would be beyond all floats."""
_DERIVED = tuple(one.name for one in METRICS if one.tolerance is None and not one.rungs)


@dataclass(frozen=True)
class Judged:
    """What a verdict said of one layer, release or field.

    Attributes:
        status: of this place alone.
        value: what was measured.
        bound: what it was held against.
        relation: how value and bound must stand to each other.
    """

    status: Status
    value: float
    bound: float
    relation: str


@dataclass(frozen=True)
class PastModel:
    """What a run found of one model.

    Attributes:
        stamp: what its numbers belong to.
        layers: the recorded numbers by label.
        derived: numbers that follow from them, such as those in units of the mean norm, by label.
        judged: what verdicts said, by the name of the check and the place. A check that was asked
            for several times has a number from the second on: ``margin_above 2``.
    """

    stamp: Stamp
    layers: Mapping[str, Numbers]
    derived: Mapping[str, Numbers]
    judged: Mapping[tuple[str, str], Judged]


@dataclass(frozen=True)
class PastRun:
    """A run that a history has read.

    Attributes:
        file: where the report lies, as a person named it.
        origin: when it was made, and at which commit.
        models: by name.
    """

    file: str
    origin: RunOrigin
    models: Mapping[str, PastModel]

    @property
    def order(self) -> tuple[float, str]:
        """Sorts runs by time; runs of one time by the names of their files."""
        return self.origin.at.timestamp(), self.file


def past_run(file: str, results: RunResults, origin: RunOrigin) -> PastRun:
    """Keep of a run's results what a history looks at.

    Raises:
        OptionError: the run is not complete, measured nothing, or has a number that is none.
    """
    recorded = recorded_of(results)
    parts = {
        model_name(given, one.run.model): (given, one)
        for given, one in results.parts
        if one.run is not None
    }
    models = {}
    for name, one in recorded.items():
        _check_size(one)
        given, part = parts[name]
        verdicts = [verdict for verdict in results.verdicts if verdict.model == given]
        models[name] = PastModel(one.stamp, one.layers, _derived(part), _judged(verdicts))
    return PastRun(file, origin, models)


def _check_size(recorded: Recorded) -> None:
    """Refuse numbers whose sums and squares would be beyond all floats."""
    for label, numbers in recorded.layers.items():
        for name, value in numbers.items():
            if value > LARGEST:
                raise OptionError(
                    f"{label}: {name} is {value:g}, and at most {LARGEST:g} is accepted"
                )


def _derived(part: ModelResults) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for layer in part.layers:
        numbers = {name: layer[name] for name in _DERIVED}
        label = label_of(*layer.key)
        found[label] = {
            name: value
            for name, value in numbers.items()
            if value is not None and 0.0 <= value <= LARGEST
        }
    return found


def _judged(verdicts: list[Verdict]) -> dict[tuple[str, str], Judged]:
    found: dict[tuple[str, str], Judged] = {}
    for verdict in verdicts:
        for reason in verdict.reasons:
            name, again = verdict.check, 1
            while (name, reason.where) in found:
                again += 1
                name = f"{verdict.check} {again}"
            found[name, reason.where] = Judged(
                reason.status, reason.value, reason.bound, reason.relation
            )
    return found
