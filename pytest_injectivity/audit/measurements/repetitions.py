"""The ladders of repeated tokens (SPEC section 10), and why their steps are not told apart."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_injectivity.audit.measurements.float64_copies import Float64Copies
from pytest_injectivity.audit.measurements.resolutions import Resolutions
from pytest_injectivity.audit.target.target import Target
from pytest_injectivity.core.layers import Layer

if TYPE_CHECKING:
    from pytest_injectivity.states.diagnosis import Diagnosis, Pair
    from pytest_injectivity.theory.repetition import Ladder, Repetition


class Repetitions:
    """Measures repeated tokens with a target's model, each once.

    Args:
        target: the model and the prompt set.
        resolutions: of its layers.
        float64: says whether there is a float64 copy of the model, which a diagnosis needs.
    """

    def __init__(self, target: Target, resolutions: Resolutions, float64: Float64Copies) -> None:
        self.target = target
        self._resolutions = resolutions
        self._float64 = float64
        self._known: dict[tuple[Repetition, int, Layer], Ladder] = {}
        self._exact: dict[tuple[Repetition, int, Layer], list[bool]] = {}

    def of(
        self, repetitions: "Sequence[Repetition]", n: int, layers: Sequence[Layer]
    ) -> "dict[Layer, list[Ladder]]":
        """The ladder of each repetition up to ``n``, by layer; see `measure_repetition`."""
        from pytest_injectivity.theory.repetition import check_repetition, measure_repetition

        for one in repetitions:
            check_repetition(self.target.decoder, one, n)
        resolutions = {layer: self._resolutions.of(layer) for layer in layers}
        with self.target.watcher.progress("repetitions", len(repetitions)) as advance:
            for done, one in enumerate(repetitions, 1):
                new = [layer for layer in layers if (one, n, layer) not in self._known]
                if new:
                    found = measure_repetition(self.target.decoder, one, n, new, resolutions)
                    self._known |= {(one, n, layer): ladder for layer, ladder in found.items()}
                advance(done)
        return {layer: [self._known[one, n, layer] for one in repetitions] for layer in layers}

    def exact(
        self, repetitions: "Sequence[Repetition]", n: int, layers: Sequence[Layer]
    ) -> dict[Layer, list[list[bool]]]:
        """Which steps true float64 does not tell apart; none where the model has no float64 copy."""
        from pytest_injectivity.models.float64 import release
        from pytest_injectivity.theory.repetition import exact_steps

        if self._float64.why_none():
            return {layer: [[]] * len(repetitions) for layer in layers}
        new = [one for one in repetitions if any((one, n, of) not in self._exact for of in layers)]
        if new:
            copy = self.target.decoder.as_float64()
            try:
                for one in new:
                    found = exact_steps(copy, one, n, layers)
                    self._exact |= {(one, n, layer): steps for layer, steps in found.items()}
            finally:
                release(copy.model)
        return {layer: [self._exact[one, n, layer] for one in repetitions] for layer in layers}

    def diagnoses(
        self,
        prompts: Sequence[tuple[int, ...]],
        pairs: "Sequence[Pair]",
        layers: Sequence[Layer],
    ) -> "Mapping[tuple[Layer, Pair], Diagnosis]":
        """Diagnoses pairs of these prompts; none where the model has no float64 copy."""
        from pytest_injectivity.states.diagnosis import DRAWS, diagnose

        if not pairs or not self._float64.available("collapses are not diagnosed"):
            return {}
        with self.target.watcher.progress("fresh draws of the weights", 1 + DRAWS) as advance:
            return diagnose(
                self.target.decoder,
                prompts,
                pairs,
                layers,
                seed=self.target.config.seed,
                progress=advance,
            )
