"""Evaluates states in the ways in which an audit evaluates them (SPEC section 2).

The same state has other last bits in another shape of the pass, because matrix products are blocked
differently there. The ways are those of capture (canonical batches, a cached beginning), of inversion
(alone, candidates behind a prefix, side by side under a tree mask) and shapes of neither.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer, depth
from pytest_injectivity.core.shapes import Bool, Float, Int64
from pytest_injectivity.models.concurrent import concurrently
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.batches import padded_length

ALONE = "alone"
BATCHED = "in a batch"
OTHER_SHAPE = "in another batch shape"
BEHIND_PREFIX = "behind a cached prefix"
SIDE_BY_SIDE = "side by side"
ROW_BY_ROW = "each in its row behind a cached prefix"
WHOLE = "with its prefix in a batch"
PART_BY_PART = "cached part by part"
FOLLOWED = "with tokens after it"
FOLLOWED_ALONE = "alone with tokens after it"

_DOZEN = 12
CANDIDATES = 32
"""Tokens that are compared behind one prefix."""

# Prompts of less than this share of the longest one have another batch, so that little is padded.
_ALIKE = 0.6
# Tokens by which a batch of another shape is wider.
_WIDER = 3
# Where the parts of a window begin: a search caches one token, and several where its guesses are right.
_CUTS = (1, 2, 7, 8, 14, 15)
# Tokens of a prompt before its candidates, at most.
_BEFORE = 7
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

    def cut(self, at: int) -> tuple["Evaluations", "Evaluations"]:
        """The evaluations of the states before an index, and of the others."""
        before, after = (
            Evaluations(self.ways, self.states[:, part], self.evaluated[:, part])
            for part in (slice(at), slice(at, None))
        )
        return before, after


def evaluate_prompts(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    layers: Sequence[Layer],
    *,
    every_way: bool,
) -> dict[Layer, Evaluations]:
    """The states of prompts at all positions but the first, all layers in the same passes.

    All prompts are run in batches of two shapes, padded on the right.

    Args:
        decoder: the model.
        prompts: token ids, at least two each, the longest first, so that little is padded; all their
            states are held at once.
        layers: which layers.
        every_way: whether the ends of the last batch are also run behind its cached beginnings, and the
            shortest prompt alone, as inversion observes it.

    Returns:
        By layer, the states of position 1, 2, … of the first prompt, then those of the next.
    """
    table = _Table(sum(len(prompt) - 1 for prompt in prompts))
    starts = [sum(len(one) - 1 for one in prompts[:at]) for at in range(len(prompts))]
    batches = list(_batches(prompts))
    for some in batches:
        for way, wider in ((BATCHED, 0), (OTHER_SHAPE, _WIDER)):
            states = decoder.states(_padded(decoder, prompts[some], wider), layers)
            _put_rows(table, way, starts[some], prompts[some], states)
    if every_way:
        some, half = batches[-1], len(prompts[-1]) // 2
        states = decoder.states_in_parts(_padded(decoder, prompts[some], 0), (half,), layers)
        _put_rows(table, BEHIND_PREFIX, starts[some], prompts[some], states, at=half)
        states = decoder.states(torch.tensor([list(prompts[-1])]), layers)
        _put_rows(table, ALONE, starts[-1:], prompts[-1:], states)
    return table.evaluations(layers)


def _batches(prompts: Sequence[Sequence[int]]) -> Iterator[slice]:
    """Neighbors of about one length, a dozen at most; the longest prompts come first."""
    start = 0
    for at, prompt in enumerate(prompts):
        if at - start == _DOZEN or len(prompt) < _ALIKE * len(prompts[start]):
            yield slice(start, at)
            start = at
    yield slice(start, len(prompts))


def _padded(
    decoder: Decoder, prompts: Sequence[Sequence[int]], wider: int
) -> Int64[Tensor, "rows width"]:
    """Prompts as rows of one width, padded on the right with their first tokens."""
    width = padded_length(max(map(len, prompts))) + wider
    width = min(width, decoder.context or width)
    return torch.tensor([[*one, *[one[0]] * (width - len(one))] for one in prompts])


def _put_rows(
    table: "_Table",
    way: str,
    starts: Sequence[int],
    prompts: Sequence[Sequence[int]],
    states: Mapping[Layer, Float[Tensor, "rows positions hidden"]],
    *,
    at: int = 0,
) -> None:
    """Takes what a pass evaluates of each prompt.

    Args:
        table: takes it.
        way: of the pass.
        starts: the table's row of each prompt's position 1.
        prompts: those of the pass.
        states: of the pass.
        at: the position of the first of them in each prompt.
    """
    begin = max(at, 1)
    for row, (start, prompt) in enumerate(zip(starts, prompts, strict=True)):
        kept = {layer: rows[row, begin - at : len(prompt) - at] for layer, rows in states.items()}
        table.put(way, start + begin - 1, kept)


def evaluate_windows(
    decoder: Decoder, windows: Sequence[Sequence[int]], layers: Sequence[Layer]
) -> dict[Layer, Evaluations]:
    """The states of short sequences of one length at all positions but the first.

    They are run whole and part by part, a row each: each part is cached before the next is run, so that
    what lies behind is rounded as a search leaves it.

    Args:
        decoder: the model.
        windows: token ids, at least two each, as many each; all their states are held at once.
        layers: which layers.
    """
    ids = torch.tensor([list(one) for one in windows])
    rows, length = ids.shape
    table = _Table(rows * (length - 1))
    whole = decoder.states(ids, layers)
    table.put(WHOLE, 0, {layer: states[:, 1:].flatten(0, 1) for layer, states in whole.items()})
    cuts = [cut for cut in _CUTS if cut < length]
    parts = decoder.states_in_parts(ids, cuts, layers)
    table.put(PART_BY_PART, 0, {layer: states.flatten(0, 1) for layer, states in parts.items()})
    return table.evaluations(layers)


def evaluate_candidates(
    decoder: Decoder, prompt: Sequence[int], layers: Sequence[Layer]
) -> dict[Layer, Evaluations]:
    """The states of tokens put after the beginning of a prompt, as inversion compares candidates.

    Args:
        decoder: the model.
        prompt: token ids, at least two; its own next token is the first candidate, and the others are
            spread over the vocabulary.
        layers: which layers.
    """
    ids = torch.tensor(list(prompt[: _BEFORE + 1]))
    spread = torch.arange(CANDIDATES) * max(1, decoder.vocab_size // CANDIDATES)
    tokens = (ids[-1] + spread) % decoder.vocab_size
    before = len(ids) - 1
    whole = torch.cat([ids[:-1].expand(len(tokens), before), tokens[:, None]], dim=1)
    prefix = decoder.prefix(ids[:-1], max(layers, key=depth))
    table = _Table(len(tokens))
    last = torch.full((len(tokens),), before)
    table.put(WHOLE, 0, decoder.states(whole, layers, positions=last))
    for way, side_by_side in ((ROW_BY_ROW, False), (SIDE_BY_SIDE, True)):
        table.put(way, 0, decoder.candidates(prefix, tokens, layers, side_by_side=side_by_side))
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
    passes: list[tuple[str, int, Int64[Tensor, "rows tokens"]]] = []
    for height in heights:
        way = f"among {height} first tokens"
        passes += [(way, start, some) for start, some in _split(tokens[:, None], height)]
    begun = _sequences(decoder, tokens[:followed], _FOLLOWED)
    passes += [(FOLLOWED, start, some) for start, some in _split(begun, followed)]
    for at, length in zip(range(len(tokens[:by_itself])), _LENGTHS, strict=False):
        token = tokens[at : at + 1]
        longer = _sequences(decoder, token, length)
        passes += [(ALONE, at, token[:, None]), (FOLLOWED_ALONE, at, longer)]
    table = _Table(len(tokens))
    tasks = [partial(_at_position_0, ids=ids, layers=layers) for _, _, ids in passes]
    with closing(concurrently(decoder, tasks)) as every:
        for (way, start, _), states in zip(passes, every, strict=True):
            table.put(way, start, states)
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
