"""Resolutions of layers: each is measured once, all expected layers in the same passes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from pytest_injectivity.audit.keys import ResolutionKey
from pytest_injectivity.audit.measurements.float64_copies import Float64Copies
from pytest_injectivity.audit.target.target import Target, by_depth
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.progress import UNCOUNTED

if TYPE_CHECKING:
    from pytest_injectivity.states.resolution import LayerResolution, Resolution
    from pytest_injectivity.states.resolution_sample import Sample, SampleSize


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
        self._layers: dict[Layer, LayerResolution] = {}
        self._known: dict[tuple[Layer, bool], Resolution] = {}

    def of(self, layer: Layer) -> "LayerResolution":
        """The resolution of a layer over a sample of the prompts; position 0's when it is asked for."""
        from pytest_injectivity.states.resolution import LayerResolution

        if layer not in self._layers:
            self._layers[layer] = LayerResolution(
                self._at(layer, first=False),
                partial(self._at, layer, first=True),
                len(self._sample.prompts) + len(self._sample.held_out),
            )
        return self._layers[layer]

    def _at(self, layer: Layer, *, first: bool) -> "Resolution":
        if (layer, first) not in self._known:
            together = self.target.together(layer)
            wanted = by_depth({one for one in together if (one, first) not in self._known})
            size = str(self._sampled)
            keys = {one: ResolutionKey(one, first, size, float64=True) for one in wanted}
            exact = self.target.entry.known(keys.values()) or self._float64.available(
                "the error of the states is not measured"
            )
            if not exact:
                keys = {one: replace(key, float64=False) for one, key in keys.items()}
            found: Mapping[Layer, Resolution] = self.target.entry.remember_each(
                keys, partial(self._measure, first=first, exact=exact)
            )
            self._known |= {(one, first): resolution for one, resolution in found.items()}
        return self._known[layer, first]

    @property
    def _sampled(self) -> "SampleSize":
        from pytest_injectivity.states.resolution_sample import DEFAULT_SIZE

        return self._size or DEFAULT_SIZE

    @cached_property
    def _sample(self) -> "Sample":
        from pytest_injectivity.states.resolution_sample import choose_sample

        prompts, facts = self.target.prompts, self.target.facts
        by_hash = sorted(zip(prompts.hashes, prompts.ids, strict=True))
        ids = [one for _, one in by_hash]
        return choose_sample(ids, facts.vocab_size, facts.context, size=self._sampled)

    def _measure(
        self, layers: "Sequence[Layer]", *, first: bool, exact: bool
    ) -> "Mapping[Layer, Resolution]":
        from pytest_injectivity.states.resolution_measurement import measure_first, measure_later

        self.target.foretelling.before(
            lambda costs: costs.first_resolution(layers) if first else costs.resolution(layers)
        )
        decoder, sample = self.target.decoder, self._sample
        copy = decoder.as_float64 if exact else None
        if first:
            with self.target.watcher.progress("resolution of position 0", UNCOUNTED):
                found = measure_first(decoder, copy, sample, layers)
        else:
            passes = len(sample.prompts) + len(sample.held_out)
            with self.target.watcher.progress("resolution", passes) as advance:
                found = measure_later(decoder, copy, sample, layers, progress=advance)
        return found
