"""Diagnoses of colliding pairs: each is made once, for all layers in the same passes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_injectivity.audit.keys import DiagnosisKey, ExactDistanceKey
from pytest_injectivity.audit.measurements.float64_copies import Float64Copies
from pytest_injectivity.audit.target.target import Target, by_depth
from pytest_injectivity.core.layers import Layer

if TYPE_CHECKING:
    from pytest_injectivity.states.diagnosis import Diagnosis, Pair


class Diagnoses:
    """Finds whether the architecture or the checkpoint makes prompts collide.

    Args:
        target: the model and the prompt set.
        float64: says whether there is a float64 copy of the model, which a diagnosis needs.
    """

    def __init__(self, target: Target, float64: Float64Copies) -> None:
        self.target = target
        self._float64 = float64
        self._known: dict[tuple[Layer, Pair], Diagnosis] = {}

    def of(
        self, pairs: Mapping[Layer, "Sequence[Pair]"]
    ) -> Mapping[tuple[Layer, "Pair"], "Diagnosis"]:
        """Diagnose whether the architecture or the checkpoint makes pairs collide (SPEC section 3).

        Args:
            pairs: by layer, pairs of prompts.

        Returns:
            A diagnosis of each pair. Where the model has no float64 copy there is none, which is
            announced.
        """
        asked = {(layer, pair) for layer, some in pairs.items() for pair in some}
        new = {pair for _, pair in asked - self._known.keys()}
        # The same pairs at the other layers are asked for next, and cost no pass.
        layers, seed = by_depth({*pairs, *self.target.layers}), self.target.config.seed
        keys = {
            (layer, pair): DiagnosisKey(layer, pair, seed)
            for pair in sorted(new)
            for layer in layers
        }
        if self.target.entry.known(keys.values()) or self._float64.available(
            "collisions are not diagnosed"
        ):
            self._known |= self.target.entry.remember_each(keys, self._diagnose)
        return self._known

    def exact_distances(
        self, pairs: Mapping[Layer, "Sequence[Pair]"], *, at_any_cost: bool
    ) -> Mapping[tuple[Layer, "Pair"], float]:
        """The distances of pairs in true float64, where the model has a float64 copy.

        Args:
            pairs: by layer, pairs of prompts.
            at_any_cost: False: where the copy is a cheap one, or the distances are known.
        """
        keys = {
            (layer, pair): ExactDistanceKey(layer, pair)
            for layer, some in pairs.items()
            for pair in some
        }
        if not keys:
            return {}
        if not self.target.entry.known(keys.values()):
            wanted = at_any_cost or self._float64.cheap
            if not wanted or self._float64.why_none():
                return {}
        found: Mapping[tuple[Layer, Pair], float] = self.target.entry.remember_each(
            keys, self._exact_distances
        )
        return found

    def _exact_distances(
        self, missing: "Sequence[tuple[Layer, Pair]]"
    ) -> "Mapping[tuple[Layer, Pair], float]":
        from pytest_injectivity.models.float64 import release
        from pytest_injectivity.states.diagnosis import distances_of_pairs

        exact = self.target.decoder.as_float64()
        layers = by_depth({layer for layer, _ in missing})
        pairs = sorted({pair for _, pair in missing})
        found = distances_of_pairs(exact, self.target.prompts.ids, pairs, layers)
        release(exact.model)
        return {key: found[key][0] for key in missing}

    def _diagnose(
        self, missing: "Sequence[tuple[Layer, Pair]]"
    ) -> "Mapping[tuple[Layer, Pair], Diagnosis]":
        from pytest_injectivity.states.diagnosis import DRAWS, diagnose

        with self.target.watcher.progress("fresh draws of the weights", 1 + DRAWS) as advance:
            return diagnose(
                self.target.decoder,
                self.target.prompts.ids,
                sorted({pair for _, pair in missing}),
                by_depth({layer for layer, _ in missing}),
                seed=self.target.config.seed,
                progress=advance,
            )
