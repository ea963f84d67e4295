"""Resolutions of small models, measured on samples that take little time."""

from collections.abc import Sequence

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.resolution import LayerResolution
from pytest_injectivity.states.resolution_measurement import measure_resolution
from pytest_injectivity.states.resolution_sample import SampleSize, choose_sample

SMALL = SampleSize(
    positions=8,
    held_out=12,
    prompts=1,
    singles=4,
    held_out_singles=12,
    windows=2,
    held_out_windows=3,
    window=6,
    exact=1,
)
"""Of tiny models it says as much as the sample of an audit."""

TINY = SampleSize(
    positions=2,
    held_out=2,
    prompts=1,
    singles=1,
    held_out_singles=3,
    windows=1,
    held_out_windows=1,
    window=3,
    exact=1,
)
"""For audits whose subject is something else: a resolution, from as few evaluations as make one."""


def resolution_of(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    layers: Sequence[Layer],
    *,
    float64: bool = False,
    size: SampleSize = SMALL,
) -> dict[Layer, LayerResolution]:
    """The resolution of each layer, with the error where a float64 copy is asked for."""
    sample = choose_sample(prompts, decoder.vocab_size, decoder.context, size=size)
    exact = decoder.as_float64 if float64 else None
    return measure_resolution(decoder, exact, sample, layers)
