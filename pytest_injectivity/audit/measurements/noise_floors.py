"""Noise floors of layers: each is measured once, all expected layers in the same passes."""

import gc
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pytest_injectivity.audit.keys import NoiseFloorKey
from pytest_injectivity.audit.measurements.float64_copies import Float64Copies
from pytest_injectivity.audit.target.target import Target, by_depth
from pytest_injectivity.core.layers import Layer

if TYPE_CHECKING:
    from pytest_injectivity.states.resolution import NoiseFloor


class NoiseFloors:
    """The noise floors of a model on a prompt set.

    Args:
        target: the model and the prompt set.
        float64: says whether the distance to a float64 copy of the model is part of a floor.
        sample: how many prompts a floor is measured on, those of smallest hash.
    """

    def __init__(self, target: Target, float64: Float64Copies, *, sample: int = 16) -> None:
        self.target = target
        self._float64 = float64
        self._sample = sample
        self._floors: dict[Layer, NoiseFloor] = {}

    def of(self, layer: Layer) -> "NoiseFloor":
        """The noise floor of a layer over a sample of the prompts."""
        if layer not in self._floors:
            sample = min(self._sample, len(self.target.prompts))
            wanted = by_depth(self.target.together(layer) - self._floors.keys())
            keys = {one: NoiseFloorKey(one, sample, float64=True) for one in wanted}
            exact = self.target.entry.known(keys.values()) or self._float64.available(
                "the noise floor leaves the distance to float64 out"
            )
            if not exact:
                keys = {one: replace(key, float64=False) for one, key in keys.items()}
            self._floors |= self.target.entry.remember_each(
                keys, partial(self._measure, sample, exact=exact)
            )
        return self._floors[layer]

    def _measure(
        self, sample: int, layers: "Sequence[Layer]", *, exact: bool
    ) -> "Mapping[Layer, NoiseFloor]":
        from pytest_injectivity.states.resolution import measure_noise

        prompts = self.target.prompts.subset(sample)
        copy = self.target.decoder.as_float64() if exact else None
        found = measure_noise(self.target.decoder, copy, prompts.ids, layers)
        del copy
        gc.collect()
        return found
