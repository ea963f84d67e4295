"""How much one step contracts at some positions of some prompts (SPEC section 11)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_injectivity.audit.keys import StepScalesKey
from pytest_injectivity.audit.measurements.float64_copies import Float64Copies
from pytest_injectivity.audit.target.target import Target
from pytest_injectivity.core.layers import Layer

if TYPE_CHECKING:
    from pytest_injectivity.theory.contraction import StepScales

Place = tuple[int, int]
"""The index of a prompt, and a position in it."""


class Contractions:
    """Measures the one-step maps of a target's model in true float64, each once.

    Args:
        target: the model and the prompt set.
        float64: says whether there is a float64 copy of the model.
    """

    def __init__(self, target: Target, float64: Float64Copies) -> None:
        self.target = target
        self._float64 = float64

    def places(self, prompts: int, positions: int) -> tuple[Place, ...]:
        """Positions drawn by the seed, of the prompts with the smallest hashes.

        Args:
            prompts: how many; at most those of the set.
            positions: of each; of a shorter prompt all that it has.
        """
        import numpy as np

        given = self.target.prompts
        random = np.random.default_rng(self.target.config.seed)
        ranked = sorted(range(len(given.ids)), key=given.hashes.__getitem__)
        return tuple(
            (prompt, position)
            for prompt in ranked[:prompts]
            for length in [len(given.ids[prompt])]
            for position in sorted(random.permutation(length)[:positions].tolist())
        )

    def of(
        self, places: Sequence[Place], layers: Sequence[Layer]
    ) -> "Mapping[Layer, tuple[StepScales, ...]]":
        """The extreme singular values at each place, in their order; none without a float64 copy.

        Those of a Jacobian that is not finite are NaN.

        Args:
            places: as `places` gives them.
            layers: whose states; they share the passes, and each has a backward pass of its own.
        """
        keys = {layer: StepScalesKey(layer, tuple(places)) for layer in layers}
        if not self.target.entry.known(keys.values()) and self._float64.why_none():
            return {}
        return self.target.entry.remember_each(keys, lambda missing: self._found(places, missing))

    def _found(
        self, places: Sequence[Place], layers: Sequence[Layer]
    ) -> "Mapping[Layer, tuple[StepScales, ...]]":
        import torch

        from pytest_injectivity.models.float64 import release
        from pytest_injectivity.theory.contraction import StepScales, step_jacobians

        ids = self.target.prompts.ids
        self.target.foretelling.before(lambda costs: costs.jacobians(layers, places=len(places)))
        copy = self.target.decoder.as_float64()
        found: dict[Layer, list[StepScales]] = {layer: [] for layer in layers}
        try:
            with self.target.watcher.progress("local contraction", len(places)) as advance:
                for done, (prompt, position) in enumerate(places, 1):
                    read = torch.tensor(ids[prompt][: position + 1])
                    for layer, jacobian in step_jacobians(copy, read, layers).items():
                        found[layer].append(StepScales.of(layer, position, jacobian))
                    advance(done)
        finally:
            release(copy.model)
        return {layer: tuple(scales) for layer, scales in found.items()}
