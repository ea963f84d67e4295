"""Judges whether a layer's margin, or co-Lipschitz constant, stays above a share of its first value.

The same prompts are measured at every step, so that the ratio of two steps is one of pairs. The step
of the smallest ratio was chosen because it is the smallest: its interval is corrected for the number
of steps, and so is the proof that some step falls below. That no step does is proved by the least
certain of them alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_injectivity.audit.judging.arguments import REQUIRED, count, factor
from pytest_injectivity.audit.judging.base import Audited, by_layer
from pytest_injectivity.audit.judging.common import Judged, not_finite, settled, worst_note
from pytest_injectivity.audit.judging.quantiles import Quantile, named, quantile
from pytest_injectivity.audit.judging.retained import COLIPSCHITZ, MARGIN, KeptNumber
from pytest_injectivity.core.layers import Layer, LayerSpec, layer_id
from pytest_injectivity.core.numbers import show, show_up
from pytest_injectivity.core.tolerances import PerLayer
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.verdict import Reason, Status, Verdict, judge

if TYPE_CHECKING:
    from pytest_injectivity.audit.along_training import CheckpointsLike, Trajectory
    from pytest_injectivity.stats import PairedRatio

_NUMBERS = {"margin": MARGIN, "colipschitz": COLIPSCHITZ}
_FEWEST_STEPS, _FEWEST_PROMPTS = 2, 4
_CONFIDENCE = 0.95


def check_stable_along_training(
    audit: "Audited",
    layer: LayerSpec | None = None,
    within: PerLayer[float] = REQUIRED,
    *,
    checkpoints: "CheckpointsLike" = None,
    number: str = "margin",
    q: float = 0.01,
    normalized: bool = True,
    from_step: int = 0,
    confidence: float | None = None,
) -> Verdict:
    """At no step of the training a number is smaller than its first value by more than a factor.

    Args:
        audit: the audit of a model of the training.
        layer: the layers judged.
        within: the factor; 2 accepts half of the first value.
        checkpoints: a folder of ``checkpoint-STEP`` folders, or models by step; None: those beside the
            audited model.
        number: ``margin`` or ``colipschitz``.
        q: the lower quantile of the rows; 0 is their minimum.
        normalized: divide by the mean norm of the layer at each step.
        from_step: leave out the steps before; the first one left is what others are compared with.
        confidence: judge what the sample proves instead of the point value.

    Raises:
        LayerError: the model has no such layer.
        OptionError: a number is not accepted, there are fewer than 2 checkpoints or 4 prompts, or two
            steps have the same weights.
        ModelError: there is no checkpoint, or one that cannot be audited.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from pytest_injectivity.testing import save_checkpoint, tiny_decoder
        >>> other = tiny_decoder(layers=4, hidden=128, vocab=2048)  # of the shape of the audited model
        >>> first = str(save_checkpoint(other, Path(tempfile.mkdtemp())))
        >>> steps = {0: first, 10: audit.config.model}
        >>> audit.check_stable_along_training(-1, 100, checkpoints=steps).passed
        True
    """
    asked = quantile(q, normalized, confidence, None)
    factors = by_layer(audit, "within", factor("within", within), layer)
    if number not in _NUMBERS:
        raise OptionError(f"number={number!r}: give one of {', '.join(_NUMBERS)}")
    trajectory = audit.along_training(checkpoints)
    steps = _steps(trajectory, count("from_step", from_step, least=0))
    if (n := len(audit.measurements.target.prompts)) < _FEWEST_PROMPTS:
        raise OptionError(
            f"{n} prompts: at least {_FEWEST_PROMPTS} are needed to compare two steps"
        )
    trajectory.measure(factors)
    course = _Course(trajectory, steps, _NUMBERS[number], asked)
    reasons = settled([course.judged(one, factors[one]) for one in factors], confidence)
    said = f"{len(steps)} checkpoints, from step {steps[0]} to step {steps[-1]}"
    notes = [*worst_note(reasons, lambda one: -one.value), said]
    return audit.verdict("stable_along_training", reasons, notes)


def _steps(trajectory: "Trajectory", from_step: int) -> tuple[int, ...]:
    steps = tuple(step for step in trajectory.steps if step >= from_step)
    if len(steps) < _FEWEST_STEPS:
        raise OptionError(
            f"from_step={from_step} leaves {len(steps)} of {len(trajectory.steps)} checkpoints (the last"
            f" is of step {trajectory.steps[-1]}): one alone is compared with nothing"
        )
    return steps


@dataclass(frozen=True)
class _Course:
    """A number along a training.

    Attributes:
        trajectory: the models, measured.
        steps: those compared; the first one is what the others are compared with.
        number: which number.
        asked: which quantile of it.
    """

    trajectory: "Trajectory"
    steps: Sequence[int]
    number: KeptNumber
    asked: Quantile

    def judged(self, layer: Layer, within: float) -> Judged:
        """The reason a layer contributes, and its p-values."""
        bound = 1.0 / within
        if lost := self._lost(layer, bound):
            return lost, (1.0, 0.0)
        values = {step: self._value(step, layer) for step in self.steps}
        first, *later = self.steps
        reference = values[first]
        if not 0.0 < reference < math.inf:
            return self._nothing_to_fall_from(layer, reference, bound), (1.0, 0.0)
        worst = min(later, key=lambda step: _nan_first(values[step]))
        largest = max(self.steps, key=values.__getitem__)
        kept = self._kept(worst, layer)
        level = self.asked.confidence or _CONFIDENCE
        reason = Reason(
            where=layer_id(layer),
            status=judge(kept.value, ">=", bound),
            quantity=self._named(f"step {worst}'s {self.number.words} over step {first}'s"),
            value=kept.value,
            bound=bound,
            relation=">=",
            evidence=(
                (
                    f"step {worst}: {show(values[worst])}, the smallest after step {first}'s"
                    f" {show(reference)}; accepted from {show(reference * bound)} on"
                ),
                (
                    f"largest at step {largest}: {show(values[largest])};"
                    f" N = {len(self.trajectory.at[first].target.prompts)} prompts at every step"
                ),
            ),
            interval=replace(kept.interval(1.0 - (1.0 - level) / len(later)), confidence=level),
            would_pass=_would_pass(kept.value),
            figures={
                "step": worst,
                "value": values[worst],
                "reference_step": first,
                "reference": reference,
                "largest_step": largest,
                "largest": values[largest],
            },
        )
        if self.asked.confidence is None:
            return reason, (1.0, 1.0)
        return reason, self._p_values(layer, bound)

    def _p_values(self, layer: Layer, bound: float) -> tuple[float, float]:
        """That no step falls below, by the least certain step; that one does, for all steps together."""
        later = self.steps[1:]
        pairs = [self._kept(step, layer).p_values(bound, math.inf) for step in later]
        return max(p for p, _ in pairs), min(1.0, len(later) * min(p for _, p in pairs))

    def _lost(self, layer: Layer, bound: float) -> Reason | None:
        """The failing reason of the first step whose states are not all finite."""
        for step in self.steps:
            lost = not_finite(self.trajectory.at[step], layer, self.number.words, bound)
            if lost is not None:
                return replace(lost, headline=f"step {step}: {lost.headline}")
        return None

    def _nothing_to_fall_from(self, layer: Layer, reference: float, bound: float) -> Reason:
        words = (
            f"step {self.steps[0]}: {self.number.words} {show(reference)}, nothing to compare with"
        )
        return Reason(
            where=layer_id(layer),
            status=Status.FAIL,
            quantity=self._named(self.number.words),
            value=math.nan,
            bound=bound,
            relation=">=",
            headline=words,
        )

    def _value(self, step: int, layer: Layer) -> float:
        return self.number.of(self.trajectory.at[step].geometry(layer), self.asked)

    def _kept(self, step: int, layer: Layer) -> "PairedRatio":
        return self.number.kept(self.trajectory.against(step, self.steps[0]), layer, self.asked)

    def _named(self, quantity: str) -> str:
        return named(quantity, self.asked)


def _nan_first(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def _would_pass(value: float) -> str:
    if not 0.0 < value < math.inf:
        return "no factor: nothing is left of the first value"
    return f"within of at least {show_up(max(1.0, 1.0 / value))}"
