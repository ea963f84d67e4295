"""Measures the resolution of layers on a sample (SPEC section 2).

Positions from 1 on and position 0 are measured apart. Only inversion and prompts of one token need
position 0, and it takes as long as all the others.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.evaluations import (
    CANDIDATES,
    Evaluations,
    evaluate_candidates,
    evaluate_first,
    evaluate_prompts,
    evaluate_windows,
)
from pytest_injectivity.states.resolution import LayerResolution, Resolution
from pytest_injectivity.states.resolution_sample import Ids, Sample
from pytest_injectivity.states.self_distances import SelfDistances

# Tokens whose states are held at once, at all layers and in all ways.
_TOGETHER = 512
# The rows of the passes of first tokens. Of either part, so many tokens are also run in passes of few
# rows, which take as long as a large one, and begin longer sequences.
_HEIGHTS = (512, 96)
_LOW_HEIGHTS = (512, 10)
_LOW = 24
# First tokens compared with float64.
_EXACT = 64


def measure_resolution(
    decoder: Decoder,
    exact: Decoder | None,
    sample: Sample,
    layers: Sequence[Layer],
    *,
    progress: Callable[[int], None] = lambda _done: None,
) -> dict[Layer, LayerResolution]:
    """Measures the resolution of layers, position 0's when it is asked for; see `measure_later`."""
    later = measure_later(decoder, exact, sample, layers, progress=progress)
    first = cache(lambda: measure_first(decoder, exact, sample, layers))
    count = len(sample.prompts) + len(sample.held_out)

    def of_first(layer: Layer) -> Resolution:
        return first()[layer]

    return {
        layer: LayerResolution(one, partial(of_first, layer), count) for layer, one in later.items()
    }


def measure_later(
    decoder: Decoder,
    exact: Decoder | None,
    sample: Sample,
    layers: Sequence[Layer],
    *,
    progress: Callable[[int], None] = lambda _done: None,
) -> dict[Layer, Resolution]:
    """Measures the resolution at positions from 1 on, all layers in the same passes.

    Args:
        decoder: the model audited. Where its context is one token, position 0 is measured instead.
        exact: the same weights in float64; None where there is no such copy.
        sample: what is evaluated.
        layers: the layers measured.
        progress: told how many prompts of the sample are done.
    """
    if decoder.context == 1:
        return measure_first(decoder, exact, sample, layers)
    found = {layer: SelfDistances() for layer in layers}
    done = 0
    held_out: list[tuple[Layer, Evaluations]] = []
    for shared, of_first in _shared(decoder, sample, layers):
        for layer, one in shared.items():
            making, measuring = one.cut(of_first)
            found[layer].widen(_finite(making))
            held_out.append((layer, _finite(measuring)))
    for prompts, make in ((sample.prompts, True), (sample.held_out, False)):
        for at, together in enumerate(_together(prompts)):
            part = evaluate_prompts(decoder, together, layers, every_way=not at)
            for layer, one in part.items():
                (found[layer].widen if make else found[layer].measure)(one)
            done += len(together)
            progress(done)
    for layer, one in held_out:
        found[layer].measure(one)
    if exact is not None:
        ids = torch.tensor(sample.windows[: sample.exact])
        own, truth = (one.states(ids, layers) for one in (decoder, exact))
        for layer in layers:
            found[layer].compare(*(one[layer][:, 1:].flatten(0, 1) for one in (own, truth)))
    return {layer: one.resolution() for layer, one in found.items()}


def _shared(
    decoder: Decoder, sample: Sample, layers: Sequence[Layer]
) -> Iterator[tuple[dict[Layer, Evaluations], int]]:
    """What both parts of the sample evaluate in the same passes, and how many states the first has."""
    windows = (*sample.windows, *sample.held_out_windows)
    of_first = len(sample.windows) * (len(windows[0]) - 1)
    yield evaluate_windows(decoder, windows, layers), of_first
    yield evaluate_candidates(decoder, windows[0], layers), CANDIDATES // 2


def measure_first(
    decoder: Decoder, exact: Decoder | None, sample: Sample, layers: Sequence[Layer]
) -> dict[Layer, Resolution]:
    """Measures the resolution at position 0; see `measure_later`."""
    found = {layer: SelfDistances() for layer in layers}
    singles, held_out = (torch.tensor(one) for one in (sample.singles, sample.held_out_singles))
    for tokens, make in ((singles, True), (held_out, False)):
        every = [(tokens[:_LOW], _LOW_HEIGHTS, _LOW, _LOW)]
        every += [(some, _HEIGHTS, 0, 0) for some in torch.split(tokens, _TOGETHER)]
        for some, heights, followed, by_itself in every:
            evaluations = evaluate_first(
                decoder, some, layers, heights, followed=followed, by_itself=by_itself
            )
            for layer, one in evaluations.items():
                (found[layer].widen if make else found[layer].measure)(_finite(one))
    if exact is not None:
        own, truth = (_first(one, singles[:_EXACT], layers) for one in (decoder, exact))
        for layer in layers:
            finite = own[layer].isfinite().all(dim=1)
            rows = finite if finite.any() else ~finite
            found[layer].compare(own[layer][rows], truth[layer][rows])
    return {layer: one.resolution() for layer, one in found.items()}


def _first(
    decoder: Decoder, tokens: Tensor, layers: Sequence[Layer]
) -> dict[Layer, Float[Tensor, "tokens hidden"]]:
    zeros = torch.zeros(len(tokens), dtype=torch.long)
    return dict(decoder.states(tokens[:, None], layers, positions=zeros))


def _finite(found: Evaluations) -> Evaluations:
    """The evaluations of tokens whose states are finite, or all of them where none is.

    A token whose states are not finite is in no prompt measured: other checks name it.
    """
    finite = found.states.isfinite().all(dim=(0, 2))
    if not finite.any():
        return found
    return Evaluations(found.ways, found.states[:, finite], found.evaluated[:, finite.cpu()])


def _together(prompts: Sequence[Ids]) -> Iterator[list[Ids]]:
    """Groups of prompts whose states are held at once, the longest first."""
    group: list[Ids] = []
    for prompt in sorted(prompts, key=len, reverse=True):
        if group and sum(map(len, group)) + len(prompt) > _TOGETHER:
            yield group
            group = []
        group.append(prompt)
    yield group
