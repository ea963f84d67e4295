"""Resolutions of layers: each is measured once, all expected layers in the same passes."""

import gc
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pytest_injectivity.audit.keys import ResolutionKey
from pytest_injectivity.audit.measurements.float64_copies import Float64Copies
from pytest_injectivity.audit.target.target import Target, by_depth
from pytest_injectivity.core.layers import Layer

if TYPE_CHECKING:
    from pytest_injectivity.states.resolution import LayerResolution
    from pytest_injectivity.states.resolution_sample import SampleSize


class Resolutions:
    """The resolutions of a model on a prompt set.

    Args:
        target: the model and the prompt set.
        float64: says whether the distance to a float64 copy of the model can be measured too.
        size: how much a resolution is measured on; None: `resolution_sample.DEFAULT_SIZE`.
    """

    def __init__(
        self, target: Target, float64: Float64Copies, *, size: "SampleSize | None" = None
    ) -> None:
        self.target = target
        self._float64 = float64
        self._size = size
        self._known: dict[Layer, LayerResolution] = {}

    def of(self, layer: Layer) -> "LayerResolution":
        """The resolution of a layer over a sample of the prompts."""
        if layer not in self._known:
            wanted = by_depth(self.target.together(layer) - self._known.keys())
            keys = {one: ResolutionKey(one, str(self._sampled), float64=True) for one in wanted}
            exact = self.target.entry.known(keys.values()) or self._float64.available(
                "the error of the states is not measured"
            )
            if not exact:
                keys = {one: replace(key, float64=False) for one, key in keys.items()}
            self._known |= self.target.entry.remember_each(
                keys, partial(self._measure, exact=exact)
            )
        return self._known[layer]

    @property
    def _sampled(self) -> "SampleSize":
        from pytest_injectivity.states.resolution_sample import DEFAULT_SIZE

        return self._size or DEFAULT_SIZE

    def _measure(
        self, layers: "Sequence[Layer]", *, exact: bool
    ) -> "Mapping[Layer, LayerResolution]":
        from pytest_injectivity.states.resolution_measurement import measure_resolution
        from pytest_injectivity.states.resolution_sample import choose_sample

        target = self.target
        by_hash = sorted(zip(target.prompts.hashes, target.prompts.ids, strict=True))
        sample = choose_sample(
            [ids for _, ids in by_hash],
            target.facts.vocab_size,
            target.facts.context,
            size=self._sampled,
        )
        copy = target.decoder.as_float64() if exact else None
        passes = len(sample.prompts) + len(sample.held_out)
        with target.watcher.progress("resolution", passes) as advance:
            found = measure_resolution(target.decoder, copy, sample, layers, progress=advance)
        del copy
        gc.collect()
        return found
