"""Evaluates prompts at every position in the ways in which an audit evaluates states (SPEC section 2).

The same state has other last bits in another shape of the pass, because matrix products are blocked
differently there. The ways are those of capture (canonical batches, a cached beginning), of inversion
(alone, candidates behind a prefix, side by side under a tree mask) and shapes of neither.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer, depth
from pytest_injectivity.core.shapes import Float, Int64
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.batches import GRAIN, padded_length, plan_batches

ALONE = "alone"
BATCHED = "in a batch"
OTHER_SHAPE = "in another batch shape"
PADDED = "padded"
BEHIND_PREFIX = "behind a cached prefix"
SIDE_BY_SIDE = "side by side"
ONE_BY_ONE = "cached one by one"

_BATCH_TOKENS = 4096
_ALTERNATIVES = 32
# Each token that is cached by itself costs a pass.
_ONE_BY_ONE = 12


class Evaluation(NamedTuple):
    """The states of one prompt at one layer, evaluated in one way.

    Attributes:
        way: its name.
        start: the first position that this way evaluates.
        states: from there on, in the model's dtype.
    """

    way: str
    start: int
    states: Float[Tensor, "positions hidden"]


def evaluate_prompts(
    decoder: Decoder, prompts: Sequence[Sequence[int]], layers: Sequence[Layer], *, thorough: bool
) -> list[dict[Layer, list[Evaluation]]]:
    """The states of each prompt in each way, all layers in the same passes.

    Args:
        decoder: the model.
        prompts: token ids; all their states are held at once.
        layers: which layers.
        thorough: in all ways; else padded alone is left out. One prompt is also run token by token.
    """
    found = [_by_itself(decoder, prompt, layers, padded=thorough) for prompt in prompts]
    for layer, evaluation in _one_by_one(decoder, max(prompts, key=len), layers).items():
        found[max(range(len(prompts)), key=lambda at: len(prompts[at]))][layer].append(evaluation)
    batches: list[tuple[str, Sequence[int]]] = [(BATCHED, [len(one) for one in prompts])]
    longest = padded_length(max(map(len, prompts))) + GRAIN
    batches.append((OTHER_SHAPE, [min(longest, decoder.context or longest)] * len(prompts)))
    for way, lengths in batches:
        for batch in plan_batches(lengths, batch_tokens=_BATCH_TOKENS, context=decoder.context):
            states = decoder.states(batch.ids(prompts), layers)
            for at, row in enumerate(batch.rows):
                for layer in layers:
                    rows = states[layer][at, : len(prompts[row])]
                    found[row][layer].append(Evaluation(way, 0, rows))
    return found


def _by_itself(
    decoder: Decoder, prompt: Sequence[int], layers: Sequence[Layer], *, padded: bool
) -> dict[Layer, list[Evaluation]]:
    """The ways in which a prompt is run without other prompts."""
    ids = torch.tensor([list(prompt)])
    found = {
        layer: [Evaluation(ALONE, 0, rows[0])]
        for layer, rows in decoder.states(ids, layers).items()
    }
    length, deepest = len(prompt), max(layers, key=depth)
    if padded:
        width = min(padded_length(length), decoder.context or length + GRAIN)
        wide = torch.cat([ids, ids[:, :1].expand(1, width - length)], dim=1)
        for layer, rows in decoder.states(wide, layers).items():
            found[layer].append(Evaluation(PADDED, 0, rows[0, :length]))
    if half := length // 2:
        prefix = decoder.prefix(ids[0, :half], deepest)
        for layer, rows in decoder.states(ids[:, half:], layers, prefix=prefix).items():
            found[layer].append(Evaluation(BEHIND_PREFIX, half, rows[0]))
        prefix = decoder.extend(prefix, ids[0, half:-1])
        # The first alternative is the prompt's own token; the others are beside it for the shape.
        others = (ids[0, -1] + torch.arange(_ALTERNATIVES)) % decoder.vocab_size
        for layer, rows in decoder.candidates(prefix, others, layers).items():
            found[layer].append(Evaluation(SIDE_BY_SIDE, length - 1, rows[:1]))
    return found


def _one_by_one(
    decoder: Decoder, prompt: Sequence[int], layers: Sequence[Layer]
) -> dict[Layer, Evaluation]:
    """The first states of a prompt, each token cached before the next is run."""
    ids, deepest = torch.tensor(list(prompt[:_ONE_BY_ONE])), max(layers, key=depth)
    prefix = decoder.prefix(ids[:0], deepest)
    rows: list[dict[Layer, Tensor]] = []
    for at in range(len(ids)):
        rows.append(decoder.candidates(prefix, ids[at : at + 1], layers))
        if at + 1 < len(ids):
            prefix = decoder.extend(prefix, ids[at : at + 1])
    return {
        layer: Evaluation(ONE_BY_ONE, 0, torch.cat([row[layer] for row in rows]))
        for layer in layers
    }


def evaluate_singles(
    decoder: Decoder,
    tokens: Int64[Tensor, " tokens"],
    layers: Sequence[Layer],
    heights: Sequence[int],
) -> Iterator[tuple[Layer, list[Evaluation]]]:
    """The states of single tokens, each put first, in passes of so many rows.

    Args:
        decoder: the model.
        tokens: which; their states are held at once.
        layers: which layers.
        heights: rows of a pass, one way each; 1 is alone.

    Yields:
        A layer and, for each height, the states of all tokens.
    """
    ways: list[tuple[str, dict[Layer, Tensor]]] = []
    zero = torch.zeros(1, dtype=torch.long)
    for height in heights:
        parts = [
            decoder.states(some[:, None], layers, positions=zero.expand(len(some)))
            for some in torch.split(tokens, height)
        ]
        joined = {layer: torch.cat([part[layer] for part in parts]) for layer in layers}
        ways.append((ALONE if height == 1 else f"among {height} first tokens", joined))
    for layer in layers:
        yield layer, [Evaluation(way, 0, states[layer]) for way, states in ways]
