"""Evaluates the last-token states of prompts in eight stated ways (SPEC section 2).

Prompts that are compared with each other share the shapes of their passes wherever their lengths allow
it, because equal bits in one shape are a collision.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer, depth
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.models.concurrent import concurrently
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.batches import padded_length, plan_batches

WAYS = (
    "in capture's batches",
    "alone",
    "with the others, padded",
    "with the others, three tokens wider",
    "with the others, seven tokens wider",
    "behind the cached first half",
    "behind all cached tokens but the last",
    "side by side with fifteen other tokens",
)
"""The ways, in the order in which `evaluate_last` gives them. A prompt of one token has no prefix: the
last three are then passes of 16, 48 and 128 such prompts."""

_ALONE = 1
# The ways that run prompts together from their beginning, and those behind a prefix.
_TOGETHER = (0, 2, 3, 4)
_BEHIND = (5, 6, 7)
_BATCH_TOKENS = 4096
# Prompts are padded to multiples of so many tokens, and in two ways by some more: in passes of other
# multiples of 8 tokens rows often have the same bits.
_MULTIPLE = 16
_WIDER = (3, 7)
# Tokens by which the lengths of prompts that share a pass behind their prefixes differ at most.
_LIKE = 64
_ALTERNATIVES = 16
_ROWS_OF_ONE = (16, 48, 128)

States = Mapping[Layer, Float[Tensor, "prompts hidden"]]
_One = Mapping[Layer, Float[Tensor, " hidden"]]


def evaluate_last(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    layers: Sequence[Layer],
    *,
    longest: Sequence[int] | None = None,
    captured: States | None = None,
) -> dict[Layer, Float[Tensor, "prompts ways hidden"]]:
    """The last-token states of prompts in each of `WAYS`, all layers in the same passes.

    A pass of one prompt costs about as much as one of several, because the weights are read once a pass.
    Each prompt runs by itself once; the other ways share their passes, those behind a prefix where the
    attention takes masks.

    Args:
        decoder: the model.
        prompts: token ids.
        layers: which layers.
        longest: of each prompt, the tokens of the longest that it is compared with, whose shape it
            takes; None: all are compared.
        captured: the states of the same prompts as captured, where they are: the first of the ways.
    """
    longest = longest or [max(map(len, prompts))] * len(prompts)
    tasks = list(_tasks(decoder, prompts, layers, longest, captured=captured is not None))
    found: dict[tuple[int, int], _One] = {}
    with closing(concurrently(decoder, [one.run for one in tasks], ahead=len(tasks))) as every:
        for task, states in zip(tasks, every, strict=True):
            for prompt, ways in zip(task.prompts, states, strict=True):
                found |= {(prompt, way): one for way, one in zip(task.ways, ways, strict=True)}
    if captured is not None:
        for at in range(len(prompts)):
            found[at, 0] = {layer: captured[layer][at] for layer in layers}
    return {
        layer: torch.stack(
            [
                torch.stack([found[at, way][layer].cpu() for way in range(len(WAYS))])
                for at in range(len(prompts))
            ]
        )
        for layer in layers
    }


@dataclass(frozen=True)
class _Task:
    """Passes that depend on no other ones.

    Attributes:
        prompts: whose states they evaluate, by index.
        ways: in which of `WAYS`, by index.
        run: gives the states of each prompt in each of these ways.
    """

    prompts: Sequence[int]
    ways: tuple[int, ...]
    run: Callable[[Decoder], Sequence[Sequence[_One]]]


def _tasks(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    layers: Sequence[Layer],
    longest: Sequence[int],
    *,
    captured: bool,
) -> Iterator[_Task]:
    """What evaluates prompts in all ways but captured ones, the longest first.

    Args:
        decoder: the model.
        prompts: token ids.
        layers: which layers.
        longest: of each prompt, the tokens of the longest that it is compared with.
        captured: whether the first way is known.
    """
    for some in _of_like_length(prompts):
        chosen = [prompts[at] for at in some]
        yield _Task(some, _BEHIND, partial(_behind, prompts=chosen, layers=layers))
    singles = [at for at, one in enumerate(prompts) if len(one) == 1]
    tokens = [prompts[at][0] for at in singles]
    for way, rows in zip(_BEHIND, _ROWS_OF_ONE if singles else (), strict=False):
        yield _Task(singles, (way,), partial(_among, tokens=tokens, layers=layers, rows=rows))
    groups: dict[int, list[int]] = {}
    for at, tokens_of_longest in enumerate(longest):
        groups.setdefault(_width(tokens_of_longest, decoder.context), []).append(at)
    for width, group in groups.items():
        of_width = partial(
            _whole, prompts=[prompts[at] for at in group], layers=layers, width=width
        )
        for way in _TOGETHER[int(captured) :]:
            yield _Task(group, (way,), partial(of_width, way=way))
    for at, one in enumerate(prompts):
        yield _Task([at], (_ALONE,), partial(_alone, prompt=one, layers=layers))


def _whole(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    layers: Sequence[Layer],
    width: int,
    way: int,
) -> list[list[_One]]:
    """One of the ways in which prompts of one padded width run together from their beginning."""
    if not way:
        return _batched(decoder, prompts, layers, width)
    taller = _TOGETHER.index(way) - 1
    more = (0, *_WIDER)[taller]
    wide = min(width + more, decoder.context or width + more)
    # At the end of the context there is no other width.
    rows = _height(len(prompts), wide) + (taller if wide < width + more else 0)
    return _padded(decoder, prompts, layers, wide, rows=rows)


def _width(tokens: int, context: int | None) -> int:
    """The padded length of prompts compared with one of so many tokens: few, so that many share it."""
    width = -(-padded_length(tokens) // _MULTIPLE) * _MULTIPLE
    return min(width, context or width)


def _height(prompts: int, width: int) -> int:
    """Rows of passes of about the same height."""
    return math.ceil(prompts / math.ceil(prompts * width / _BATCH_TOKENS))


def _batched(
    decoder: Decoder, prompts: Sequence[Sequence[int]], layers: Sequence[Layer], width: int
) -> list[list[_One]]:
    """In canonical batches of one width."""
    found: dict[int, list[_One]] = {}
    for batch in plan_batches(
        [width] * len(prompts), batch_tokens=_BATCH_TOKENS, context=decoder.context
    ):
        states = decoder.states(batch.ids(prompts), layers, positions=batch.last_positions(prompts))
        for at, row in enumerate(batch.rows):
            found[row] = [{layer: states[layer][at] for layer in layers}]
    return [found[row] for row in range(len(prompts))]


def _padded(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    layers: Sequence[Layer],
    width: int,
    *,
    rows: int,
) -> list[list[_One]]:
    """In passes of so many rows of one width; the last pass is filled with copies of its first row."""
    found: list[list[_One]] = []
    for start in range(0, len(prompts), rows):
        some = list(prompts[start : start + rows])
        full = some + some[:1] * (rows - len(some))
        ids = torch.tensor([[*one, *[one[0]] * (width - len(one))] for one in full])
        last = torch.tensor([len(one) - 1 for one in full])
        states = decoder.states(ids, layers, positions=last)
        found += [[{layer: states[layer][at] for layer in layers}] for at in range(len(some))]
    return found


def _alone(decoder: Decoder, prompt: Sequence[int], layers: Sequence[Layer]) -> list[list[_One]]:
    ids = torch.tensor([list(prompt)])
    return [[_first(decoder.states(ids, layers, positions=torch.tensor([len(prompt) - 1])))]]


def _behind(
    decoder: Decoder, prompts: Sequence[Sequence[int]], layers: Sequence[Layer]
) -> Sequence[Sequence[_One]]:
    """The last three ways: behind half of a prompt, behind all but its last token, side by side."""
    together = _behind_together(decoder, prompts, layers) if decoder.masks else None
    return together or _behind_each(decoder, prompts, layers)


def _of_like_length(prompts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Prompts of at least two tokens that share passes: a pass costs as much as some padding."""
    by_length = sorted(range(len(prompts)), key=lambda at: -len(prompts[at]))
    some: list[int] = []
    for at in by_length:
        length = len(prompts[at])
        if some:
            most = len(prompts[some[0]])
            if most - length > _LIKE or (len(some) + 1) * most > _BATCH_TOKENS:
                yield some
                some = []
        if length > 1:
            some.append(at)
    if some:
        yield some


def _behind_together(
    decoder: Decoder, prompts: Sequence[Sequence[int]], layers: Sequence[Layer]
) -> list[tuple[_One, _One, _One]] | None:
    """The three ways in passes that prompts share; None where a state is not finite.

    What a token does not see is multiplied by zero, and zero times another token's NaN is NaN.
    """
    deepest = max(layers, key=depth)
    every = range(len(prompts))
    buffer = decoder.prefix_buffer(len(prompts), max(map(len, prompts)), deepest)
    halves = [len(one) // 2 for one in prompts]
    begun = [one[:half] for one, half in zip(prompts, halves, strict=True)]
    buffer.keep(decoder.continued(buffer, every, _right_padded(begun)), halves)
    rest = [one[half:] for one, half in zip(prompts, halves, strict=True)]
    half = decoder.continued(buffer, every, _right_padded(rest), layers=layers)
    last = [len(one) - 1 for one in rest]
    buffer.keep(half, last)
    tokens = torch.tensor([one[-1] for one in prompts])[:, None]
    behind = decoder.continued(buffer, every, tokens, layers=layers)
    others = (tokens + torch.arange(_ALTERNATIVES)) % decoder.vocab_size
    side = decoder.continued(buffer, every, others, side_by_side=True, layers=layers)
    found = [
        tuple(
            {layer: way.at[layer][row, at] for layer in layers}
            for way, at in ((half, last[row]), (behind, 0), (side, 0))
        )
        for row in every
    ]
    finite = all(
        bool(one.isfinite().all()) for ways in found for way in ways for one in way.values()
    )
    return [(one, two, three) for one, two, three in found] if finite else None


def _behind_each(
    decoder: Decoder, prompts: Sequence[Sequence[int]], layers: Sequence[Layer]
) -> list[tuple[_One, _One, _One]]:
    """The three ways of each prompt by itself."""
    deepest = max(layers, key=depth)
    found = []
    for ids in (torch.tensor(list(one)) for one in prompts):
        half = len(ids) // 2
        prefix = decoder.prefix(ids[:half], deepest)
        at = torch.tensor([len(ids) - half - 1])
        behind_half = decoder.states(ids[None, half:], layers, positions=at, prefix=prefix)
        prefix = decoder.extend(prefix, ids[half:-1])
        others = (ids[-1] + torch.arange(_ALTERNATIVES)) % decoder.vocab_size
        behind, side = (decoder.candidates(prefix, some, layers) for some in (ids[-1:], others))
        found.append((_first(behind_half), _first(behind), _first(side)))
    return found


def _right_padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of one width, each padded with its first token."""
    width = max(map(len, rows))
    return torch.tensor([[*one, *[one[0]] * (width - len(one))] for one in rows])


def _among(
    decoder: Decoder, tokens: Sequence[int], layers: Sequence[Layer], rows: int
) -> list[list[_One]]:
    """Tokens in passes of so many rows; the last one is filled with copies of its first row."""
    found: list[list[_One]] = []
    for start in range(0, len(tokens), rows):
        some = list(tokens[start : start + rows])
        full = torch.tensor(some + some[:1] * (rows - len(some)))[:, None]
        states = decoder.states(full, layers, positions=torch.zeros(rows, dtype=torch.long))
        found += [[{layer: states[layer][at] for layer in layers}] for at in range(len(some))]
    return found


def _first(states: Mapping[Layer, Tensor]) -> _One:
    """The first row, which is the one evaluated."""
    return {layer: rows[0] for layer, rows in states.items()}
