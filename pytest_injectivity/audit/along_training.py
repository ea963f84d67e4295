"""A model at several steps of its training, measured on the same prompts.

    audit = Audit(AuditConfig(model="run/checkpoint-1000", prompts="prompts.jsonl"))
    trajectory = audit.along_training("run")           # the folders run/checkpoint-*
    audit.assert_stable_along_training(-1, within=3)   # no margin below a third of the first one

Prompts, N and normalization are those of the audit at every step, so that numbers differ by the weights
alone. Two steps of the same weights are refused: such a mapping is a typing error, and would be green.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from pytest_injectivity.audit.comparisons.against import Against
from pytest_injectivity.audit.measurements.measurements import Measurements
from pytest_injectivity.audit.sweeps import point_of
from pytest_injectivity.audit.target.alike import other_ids, shape_of
from pytest_injectivity.audit.target.run_summary import run_summary
from pytest_injectivity.audit.target.same_model import is_same_model
from pytest_injectivity.audit.target.target import Target, by_depth
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.progress import Labeled
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.sweeps import SweepPoint

FEWEST = 2
"""The fewest checkpoints of a trajectory: one alone is compared with nothing."""

CheckpointsLike = str | Path | Mapping[int, str] | None
"""A folder of ``checkpoint-STEP`` folders, models by step, or None: those beside the audited model."""


class Trajectory:
    """A model at several steps of its training, on the prompts of an audit.

    Args:
        target: of the audit: the model at one of the steps, or another of the same shape and tokenizer.
        models: by step: folders, or hub ids such as ``org/name@step1000``.

    Attributes:
        at: the measurements of each step, the first one first.

    Raises:
        OptionError: there are fewer than 2, a step is no integer of at least 0, or two steps have one
            model.
    """

    def __init__(self, target: Target, models: Mapping[int, str]) -> None:
        for step in models:
            if isinstance(step, bool) or not isinstance(step, int) or step < 0:
                raise OptionError(
                    f"{step!r} is no step of a training: give an integer of at least 0"
                )
        if len(models) < FEWEST:
            raise OptionError(
                f"{len(models)} of at least {FEWEST} checkpoints: one alone is compared with nothing"
            )
        steps: dict[str, int] = {}
        for step, model in models.items():
            if (other := steps.setdefault(_place(model), step)) != step:
                raise OptionError(
                    f"steps {other} and {step} are both {model}: give each step a checkpoint of its own"
                )
        self._target = target
        self._names = {step: models[step] for step in sorted(models)}
        self._points: dict[tuple[int, Layer], SweepPoint] = {}
        self.at = {
            step: Measurements(self._one(step, place)) for place, step in enumerate(self._names, 1)
        }

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps measured, ascending."""
        return tuple(self._names)

    @property
    def points(self) -> tuple[SweepPoint, ...]:
        """The numbers of every layer measured, step by step, and of each step layer by layer.

        Raises:
            OptionError: a model has another shape or other token ids than the audited one, or the same
                weights as that of another step.
            ModelError: a model cannot be audited.
        """
        self.measure(self._target.layers)
        layers = by_depth({layer for _, layer in self._points})
        return tuple(self._points[step, layer] for step in self.at for layer in layers)

    def measure(self, layers: Iterable[Layer]) -> None:
        """Measure layers of each step in one pass; the model of one step is in memory at a time.

        The audited model, and its reference, are unloaded before; their next use loads them again.

        Raises:
            OptionError: as in `points`.
            ModelError: likewise.
        """
        first = next(iter(self.at))
        missing = [layer for layer in layers if (first, layer) not in self._points]
        if not missing:
            return
        for one in self.at.values():
            self._check(one.target)
        for other in (self._target, self._target.beside):
            if other is not None:
                other.unload()
        found: dict[tuple[int, Layer], SweepPoint] = {}
        for step, one in self.at.items():
            self._refuse_same_weights(step)
            one.target.use_prompts(self._target.prompts)
            one.expect(missing)
            run = run_summary(one.target)
            for layer in missing:
                found[step, layer] = point_of(one, run, one.layer_summary(layer), step)
            one.target.unload()
        # Layers that could not be measured at every step are asked for, and refused, again.
        self._points.update(found)

    def against(self, step: int, first: int) -> Against:
        """The numbers of a step compared with those of another one, prompt by prompt."""
        return Against(self.at[step], self.at[first], one_basis=True)

    def _one(self, step: int, place: int) -> Target:
        from pytest_injectivity.states.memory import default_budget

        target, process = self._target, self._target.process
        process["watcher"] = Labeled(target.watcher, f"step {step} ({place} of {len(self._names)})")
        config = replace(target.config, model=self._names[step], reference=None, states=None)
        # All steps together hold what one audit may.
        budget = config.memory_budget or default_budget(target.workers)
        config = replace(config, memory_budget=max(1, budget // len(self._names)))
        if config.kept_folder is None:
            process["scratch"] = target.kept.store.folder
        return Target(config, **process)

    def _refuse_same_weights(self, step: int) -> None:
        one = self.at[step].target
        for earlier in (other for other in self.steps if other < step):
            other = self.at[earlier].target
            same = is_same_model(one, other)
            other.unload()  # loaded again where samples of the weights are equal
            if same:
                one.unload()
                raise OptionError(
                    f"steps {earlier} and {step} have the same weights ({other.config.model} and"
                    f" {one.config.model}): give each step a checkpoint of its own, or leave one out"
                )

    def _check(self, one: Target) -> None:
        """Refuses a model whose numbers are not comparable with those of the others."""
        shapes = shape_of(one), shape_of(self._target)
        if other := [name for name in shapes[0] if shapes[0][name] != shapes[1][name]]:
            told = ", ".join(f"{name} {shapes[0][name]} and {shapes[1][name]}" for name in other)
            raise OptionError(
                f"{one.config.model} and the audited model {self._target.config.model} are not of one"
                f" training: {told}; audit a checkpoint of it (--injx-model)"
            )
        if (ids := other_ids(self._target, one)) is not None:
            raise OptionError(
                f"{one.config.model} has another tokenizer than the audited model"
                f" {self._target.config.model}: of {len(self._target.prompts)} prompts {ids} have"
                " other token ids; give checkpoints of one training"
            )


class Trajectories:
    """The trainings that an audit was asked for, each measured once, whichever way it is written.

    Args:
        target: of the audit.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._found: dict[frozenset[tuple[int, str]], Trajectory] = {}

    def of(self, checkpoints: CheckpointsLike) -> Trajectory:
        """The training that checkpoints name; see `Trajectory` and `models_of` for what is refused."""
        models = models_of(self._target, checkpoints)
        key = frozenset((step, _place(model)) for step, model in models.items())
        if key not in self._found:
            self._found[key] = Trajectory(self._target, models)
        return self._found[key]


def models_of(target: Target, checkpoints: CheckpointsLike) -> dict[int, str]:
    """The models that checkpoints name, by step.

    Args:
        target: the audited model.
        checkpoints: as given by the user.

    Raises:
        ModelError: a folder has none, or one that cannot be audited.
        OptionError: it is neither a folder nor models by step.
    """
    if isinstance(checkpoints, Mapping):
        if all(map(_is_model, checkpoints.values())):
            return {step: str(model) for step, model in checkpoints.items()}
    elif checkpoints is None or _is_model(checkpoints):
        return _in_folder(target.config.model if checkpoints is None else checkpoints)
    raise OptionError(
        f"checkpoints={checkpoints!r}: give a folder of checkpoint-STEP folders, or models by step such"
        ' as {0: "org/model@step0", 1000: "out/checkpoint-1000"}'
    )


def _is_model(model: object) -> bool:
    return isinstance(model, str | Path)


def _in_folder(folder: str | Path) -> dict[int, str]:
    from pytest_injectivity.models.training_steps import list_checkpoints

    return list_checkpoints(folder)


def others_of(target: Target, checkpoints: CheckpointsLike) -> dict[int, str]:
    """The models that checkpoints name, without the audited one; see `models_of`."""
    own, models = _place(target.config.model), models_of(target, checkpoints)
    return {step: model for step, model in models.items() if _place(model) != own}


def _place(model: str) -> str:
    """Where a model lies; a hub id or a builtin is its own place."""
    path = Path(model).expanduser()
    return str(path.resolve()) if path.exists() else model
