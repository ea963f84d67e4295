"""Runs candidates behind several prefixes in one pass, because passes of few tokens are slow."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float, Int
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.prefix import Prefix
from pytest_injectivity.models.prefix_buffer import PrefixBuffer


def candidates_behind(
    decoder: Decoder,
    prefixes: Sequence[Prefix],
    tokens: Sequence[Int[Tensor, " _candidates"]],
    layers: Sequence[Layer],
) -> list[Mapping[Layer, Float[Tensor, "_candidates hidden"]]]:
    """The one-step maps of prefixes of one length and depth, each for tokens of its own.

    Where the attention takes masks, short lists share passes. The rows are those of
    `Decoder.candidates` up to the resolution.

    Args:
        decoder: the model.
        prefixes: the tokens before.
        tokens: the candidates behind each prefix, at least one.
        layers: as for `Decoder.states`.

    Returns:
        For each prefix, the states of its candidates by layer.
    """
    found: dict[int, Mapping[Layer, Tensor]] = {}
    for some in _batches(decoder, prefixes, tokens):
        if len(some) > 1:
            found |= _together(decoder, prefixes, tokens, some, layers)
        else:
            found[some[0]] = decoder.candidates(prefixes[some[0]], tokens[some[0]], layers)
    return [found[at] for at in range(len(prefixes))]


def _batches(
    decoder: Decoder, prefixes: Sequence[Prefix], tokens: Sequence[Tensor]
) -> Iterator[list[int]]:
    """Which prefixes share a pass: those of the shortest lists first; the others run alone."""
    limits = decoder.limits
    held: list[int] = []
    for at in sorted(range(len(tokens)), key=lambda one: len(tokens[one])):
        width = len(tokens[at])
        shared = decoder.masks and prefixes[at].cache is not None and len(prefixes[at])
        if not shared or prefixes[at].depth == 0 or width > limits.side_by_side:
            yield [at]
            continue
        if width * (len(held) + 1) > limits.side_by_side * limits.side_rows:
            yield held
            held = []
        held.append(at)
    if held:
        yield held


def _together(
    decoder: Decoder,
    prefixes: Sequence[Prefix],
    tokens: Sequence[Tensor],
    some: Sequence[int],
    layers: Sequence[Layer],
) -> dict[int, Mapping[Layer, Tensor]]:
    """The states of one pass; what pads a list is its own first token."""
    widest = max(len(tokens[at]) for at in some)
    ids = torch.stack(
        [torch.cat([tokens[at], tokens[at][:1].expand(widest - len(tokens[at]))]) for at in some]
    )
    buffer = _buffer([prefixes[at] for at in some])
    states = decoder.continued(buffer, range(len(some)), ids, side_by_side=True, layers=layers).at
    found: dict[int, Mapping[Layer, Tensor]] = {}
    for row, at in enumerate(some):
        own = {layer: states[layer][row, : len(tokens[at])].clone() for layer in layers}
        if not all(bool(one.isfinite().all()) for one in own.values()):
            # What is not seen is multiplied by zero, and zero times a candidate's NaN is NaN.
            own = decoder.candidates(prefixes[at], tokens[at], layers, side_by_side=False)
        found[at] = own
    return found


def _buffer(prefixes: Sequence[Prefix]) -> PrefixBuffer:
    """The prefixes, which are of one length, in one buffer."""
    caches = [one.cache.layers for one in prefixes if one.cache is not None]
    blocks = tuple(
        (torch.cat([one.keys for one in same]), torch.cat([one.values for one in same]))
        for same in zip(*caches, strict=True)
        if same[0].is_initialized
    )
    first = prefixes[0]
    return PrefixBuffer(
        first.depth, len(first), [tuple(one.ids.tolist()) for one in prefixes], blocks
    )
