"""Evaluates states in the ways in which an audit evaluates them (SPEC section 2).

The same state has other last bits in another shape of the pass, because matrix products are blocked
differently there. The ways are those of capture (canonical batches, a cached beginning), of inversion
(alone, candidates behind a prefix, side by side under a tree mask) and shapes of neither.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer, depth
from pytest_injectivity.core.shapes import Bool, Float, Int64
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.batches import GRAIN, padded_length

ALONE = "alone"
BATCHED = "in a batch"
OTHER_SHAPE = "in another batch shape"
PADDED = "padded"
BEHIND_PREFIX = "behind a cached prefix"
SIDE_BY_SIDE = "side by side"
ROW_BY_ROW = "each in its row behind a cached prefix"
BY_ITSELF = "by itself behind a cached prefix"
WHOLE = "with its prefix in a batch"
ONE_BY_ONE = "cached one by one"
FOLLOWED = "with tokens after it"
FOLLOWED_ALONE = "alone with tokens after it"

_DOZEN = 12
_CANDIDATES = 64
# Passes of one token. A pass of one row multiplies by other kernels than all larger ones.
_LONE = 12
# Tokens of a prompt before its candidates, at most.
_BEFORE = 7
# Each token that is cached by itself costs two passes.
_ONE_BY_ONE = 8
# Tokens of a sequence that begins with the token evaluated; alone, of one sequence after the other.
_FOLLOWED = 16
_LENGTHS = range(2, 2**10, 3)


class Evaluations(NamedTuple):
    """States at one layer, each evaluated in several ways.

    Attributes:
        ways: their names; the first evaluates every state.
        states: ``(ways, states, hidden)``, in the model's dtype. A way that does not evaluate a state
            has the first way's in its place.
        evaluated: ``(ways, states)``: which are evaluated.
    """

    ways: tuple[str, ...]
    states: Float[Tensor, "ways states hidden"]
    evaluated: Bool[Tensor, "ways states"]


def evaluate_prompts(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    layers: Sequence[Layer],
    *,
    every_way: bool,
    lone: int = _LONE,
) -> dict[Layer, Evaluations]:
    """The states of prompts at all positions but the first, all layers in the same passes.

    All prompts are run alone, as inversion observes them, and in batches of two shapes, padded on the
    right. The other ways take several passes for each prompt, which cost about as much as a batch each:
    only the longest and the shortest are run in them.

    Args:
        decoder: the model.
        prompts: token ids, at least two each, the longest first, so that little is padded; all their
            states are held at once.
        layers: which layers.
        every_way: whether the first and the last are also padded alone and run behind a cached prefix,
            and the first token by token.
        lone: passes of one token, at most.

    Returns:
        By layer, the states of position 1, 2, … of the first prompt, then those of the next.
    """
    table = _Table(sum(len(prompt) - 1 for prompt in prompts))
    starts = [sum(len(one) - 1 for one in prompts[:at]) for at in range(len(prompts))]
    for prompt, start in zip(prompts, starts, strict=True):
        states = decoder.states(torch.tensor([list(prompt)]), layers)
        table.put(ALONE, start, {layer: rows[0, 1:] for layer, rows in states.items()})
    for way, wider in ((BATCHED, 0), (OTHER_SHAPE, GRAIN)):
        for first in range(0, len(prompts), _DOZEN):
            some = slice(first, first + _DOZEN)
            batch = _batched(decoder, prompts[some], layers, wider)
            for start, found in zip(starts[some], batch, strict=True):
                table.put(way, start, found)
    if every_way:
        for at in {0, len(prompts) - 1}:
            _by_itself(decoder, prompts[at], layers, table, starts[at])
        _one_by_one(decoder, prompts[0][: min(lone, _ONE_BY_ONE) + 1], layers, table)
    return table.evaluations(layers)


def _batched(
    decoder: Decoder, prompts: Sequence[Sequence[int]], layers: Sequence[Layer], wider: int
) -> Iterator[Mapping[Layer, Float[Tensor, "positions hidden"]]]:
    """The states of each prompt from position 1 on, in one pass, padded on the right."""
    width = padded_length(max(map(len, prompts))) + wider
    width = min(width, decoder.context or width)
    ids = torch.tensor([[*one, *[one[0]] * (width - len(one))] for one in prompts])
    states = decoder.states(ids, layers)
    for row, prompt in enumerate(prompts):
        yield {layer: rows[row, 1 : len(prompt)] for layer, rows in states.items()}


def _by_itself(
    decoder: Decoder,
    prompt: Sequence[int],
    layers: Sequence[Layer],
    table: "_Table",
    start: int,
) -> None:
    """The other ways in which a prompt is run without other prompts."""
    ids = torch.tensor([list(prompt)])
    length, deepest = len(prompt), max(layers, key=depth)
    width = min(padded_length(length), decoder.context or length + GRAIN)
    wide = torch.cat([ids, ids[:, :1].expand(1, width - length)], dim=1)
    states = decoder.states(wide, layers)
    table.put(PADDED, start, {layer: rows[0, 1:length] for layer, rows in states.items()})
    half = length // 2
    states = decoder.states(ids[:, half:], layers, prefix=decoder.prefix(ids[0, :half], deepest))
    table.put(BEHIND_PREFIX, start + half - 1, {layer: rows[0] for layer, rows in states.items()})


def _one_by_one(
    decoder: Decoder, prompt: Sequence[int], layers: Sequence[Layer], table: "_Table"
) -> None:
    """The states of the beginning of a prompt, each token cached before the next is run."""
    ids, deepest = torch.tensor(list(prompt)), max(layers, key=depth)
    prefix = decoder.prefix(ids[:1], deepest)
    for at in range(1, len(ids)):
        table.put(ONE_BY_ONE, at - 1, decoder.candidates(prefix, ids[at : at + 1], layers))
        if at + 1 < len(ids):
            prefix = decoder.extend(prefix, ids[at : at + 1])


def evaluate_candidates(
    decoder: Decoder, prompt: Sequence[int], layers: Sequence[Layer], *, lone: int = _LONE
) -> dict[Layer, Evaluations]:
    """The states of tokens put after the beginning of a prompt, as inversion compares candidates.

    Args:
        decoder: the model.
        prompt: token ids, at least two; its own next token is the first candidate, and the others are
            spread over the vocabulary.
        layers: which layers.
        lone: how many of the tokens are also run in a pass of one row each.
    """
    ids = torch.tensor(list(prompt[: _BEFORE + 1]))
    spread = torch.arange(_CANDIDATES) * max(1, decoder.vocab_size // _CANDIDATES)
    tokens = (ids[-1] + spread) % decoder.vocab_size
    before = len(ids) - 1
    whole = torch.cat([ids[:-1].expand(len(tokens), before), tokens[:, None]], dim=1)
    prefix = decoder.prefix(ids[:-1], max(layers, key=depth))
    table = _Table(len(tokens))
    last = torch.full((len(tokens),), before)
    table.put(WHOLE, 0, decoder.states(whole, layers, positions=last))
    for way, side_by_side in ((ROW_BY_ROW, False), (SIDE_BY_SIDE, True)):
        table.put(way, 0, decoder.candidates(prefix, tokens, layers, side_by_side=side_by_side))
    for at in range(lone):
        table.put(BY_ITSELF, at, decoder.candidates(prefix, tokens[at : at + 1], layers))
    return table.evaluations(layers)


def evaluate_first(
    decoder: Decoder,
    tokens: Int64[Tensor, " tokens"],
    layers: Sequence[Layer],
    heights: Sequence[int],
    *,
    followed: int,
    by_itself: int,
) -> dict[Layer, Evaluations]:
    """The states of tokens at position 0.

    Args:
        decoder: the model.
        tokens: which; their states are held at once.
        layers: which layers.
        heights: rows of the passes in which all tokens are run, one way each.
        followed: how many of the tokens, the first, also begin longer sequences of one pass.
        by_itself: how many are also run alone, and alone with tokens after them, of other lengths.
    """
    table = _Table(len(tokens))
    for height in heights:
        for start, some in _split(tokens[:, None], height):
            way = f"among {height} first tokens"
            table.put(way, start, _at_position_0(decoder, some, layers))
    for start, some in _split(_sequences(decoder, tokens[:followed], _FOLLOWED), followed):
        table.put(FOLLOWED, start, _at_position_0(decoder, some, layers))
    for at, length in zip(range(len(tokens[:by_itself])), _LENGTHS, strict=False):
        token = tokens[at : at + 1]
        table.put(ALONE, at, _at_position_0(decoder, token[:, None], layers))
        longer = _sequences(decoder, token, length)
        table.put(FOLLOWED_ALONE, at, _at_position_0(decoder, longer, layers))
    return table.evaluations(layers)


def _sequences(
    decoder: Decoder, tokens: Int64[Tensor, " tokens"], length: int
) -> Int64[Tensor, "tokens length"]:
    """Sequences that begin with these tokens; the others follow from the first."""
    steps = torch.arange(min(length, decoder.context or length))
    sequences: Tensor = (tokens[:, None] + steps) % decoder.vocab_size
    return sequences


def _at_position_0(
    decoder: Decoder, ids: Int64[Tensor, "rows tokens"], layers: Sequence[Layer]
) -> Mapping[Layer, Float[Tensor, "rows hidden"]]:
    return decoder.states(ids, layers, positions=torch.zeros(len(ids), dtype=torch.long))


def _split(
    ids: Int64[Tensor, "rows tokens"], height: int
) -> Iterator[tuple[int, Int64[Tensor, "some tokens"]]]:
    """Passes of so many rows, each with its first row's index."""
    for start in range(0, len(ids), max(height, 1)):
        yield start, ids[start : start + height]


class _Table:
    """Collects the states that each way evaluates.

    Args:
        rows: how many states there are.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._found: dict[str, list[tuple[int, Mapping[Layer, Tensor]]]] = {}

    def put(
        self, way: str, start: int, states: Mapping[Layer, Float[Tensor, "some hidden"]]
    ) -> None:
        """Takes the states that a way evaluates, from a row on."""
        self._found.setdefault(way, []).append((start, states))

    def evaluations(self, layers: Sequence[Layer]) -> dict[Layer, Evaluations]:
        """What was collected; the way put first evaluates every state."""
        ways = tuple(self._found)
        evaluated = torch.zeros(len(ways), self.rows, dtype=torch.bool)
        for way, parts in enumerate(self._found.values()):
            for start, states in parts:
                evaluated[way, start : start + len(states[layers[0]])] = True
        return {layer: Evaluations(ways, self._states(layer), evaluated) for layer in layers}

    def _states(self, layer: Layer) -> Float[Tensor, "ways states hidden"]:
        first, *others = self._found.values()
        every = torch.cat([states[layer] for _, states in first])
        table = every.expand(len(self._found), *every.shape).clone()
        for way, parts in enumerate(others, start=1):
            for start, states in parts:
                rows = states[layer]
                table[way, start : start + len(rows)] = rows
        return table
