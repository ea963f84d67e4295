"""Measures the resolution of layers on a sample (SPEC section 2).

Positions from 1 on and position 0 are measured apart. Only inversion and prompts of one token need
position 0, and it takes as long as all the others.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.models.concurrent import concurrently
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.float64 import release
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
    exact: Callable[[], Decoder] | None,
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
    exact: Callable[[], Decoder] | None,
    sample: Sample,
    layers: Sequence[Layer],
    *,
    progress: Callable[[int], None] = lambda _done: None,
) -> dict[Layer, Resolution]:
    """Measures the resolution at positions from 1 on, all layers in the same passes.

    Args:
        decoder: the model audited. Where its context is one token, position 0 is measured instead.
        exact: makes a copy of the same weights in float64, which is released here; None where there can
            be none. It is made last: it is the largest thing in memory.
        sample: what is evaluated.
        layers: the layers measured.
        progress: told how many prompts of the sample are done.
    """
    if decoder.context == 1:
        return measure_first(decoder, exact, sample, layers)
    found = {layer: SelfDistances() for layer in layers}
    done = 0
    held_out: list[tuple[Layer, Evaluations]] = []
    parts = _parts(sample, layers)
    with closing(concurrently(decoder, [part.evaluate for part in parts])) as every:
        for part, evaluated in zip(parts, every, strict=True):
            for layer, one in evaluated.items():
                making, measuring = one.cut(part.making)
                if part.making:
                    found[layer].widen(making if part.prompts else _finite(making))
                if measuring.states.shape[1]:
                    held_out.append((layer, measuring if part.prompts else _finite(measuring)))
            if part.scaled:
                for layer, one in held_out:
                    found[layer].measure(one)
                held_out.clear()
            done += part.prompts
            progress(done)
    if exact is not None:
        ids = torch.tensor(sample.windows[: sample.exact])
        copy = exact()
        own, truth = (one.states(ids, layers) for one in (decoder, copy))
        release(copy.model)
        for layer in layers:
            found[layer].compare(*(one[layer][:, 1:].flatten(0, 1) for one in (own, truth)))
    return {layer: one.resolution() for layer, one in found.items()}


@dataclass(frozen=True)
class _Part:
    """What is evaluated of a sample in one go.

    Attributes:
        evaluate: the states at all layers.
        making: how many of them, the first, make the scale; the radius is measured on the others.
        prompts: whole prompts among them.
        scaled: whether the scale is made when this is done.
    """

    evaluate: Callable[[Decoder], dict[Layer, Evaluations]]
    making: int
    prompts: int = 0
    scaled: bool = False


def _parts(sample: Sample, layers: Sequence[Layer]) -> list[_Part]:
    """What is evaluated of a sample, so ordered that two at a time end together.

    What measures the radius before the scale is made is held until then: one group of prompts.
    """
    windows = (*sample.windows, *sample.held_out_windows)
    of_windows = len(sample.windows) * (len(windows[0]) - 1)
    groups = [
        [
            (partial(evaluate_prompts, prompts=some, layers=layers, every_way=not at), some)
            for at, some in enumerate(_together(prompts))
        ]
        for prompts in (sample.prompts, sample.held_out)
    ]
    making = [_Part(run, sum(len(one) - 1 for one in some), len(some)) for run, some in groups[0]]
    measuring = [_Part(run, 0, len(some)) for run, some in groups[1]]
    return [
        _Part(partial(evaluate_windows, windows=windows, layers=layers), of_windows),
        *measuring[:1],
        *making,
        _Part(
            partial(evaluate_candidates, prompt=windows[0], layers=layers),
            CANDIDATES // 2,
            scaled=True,
        ),
        *(replace(one, scaled=True) for one in measuring[1:]),
    ]


def measure_first(
    decoder: Decoder, exact: Callable[[], Decoder] | None, sample: Sample, layers: Sequence[Layer]
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
        copy = exact()
        own, truth = (_first(one, singles[:_EXACT], layers) for one in (decoder, copy))
        release(copy.model)
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
