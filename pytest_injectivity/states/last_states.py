"""Evaluates the last-token states of prompts in eight stated ways (SPEC section 2).

Prompts that are compared with each other share the shapes of their passes wherever their lengths allow
it, because equal bits in one shape are a collision.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer, depth
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.batches import GRAIN, padded_length, plan_batches

WAYS = (
    "alone",
    "alone, padded",
    "in capture's batches",
    "in threes, padded further",
    "in taller batches",
    "behind the cached first half",
    "behind all cached tokens but the last",
    "side by side with fifteen other tokens",
)
"""The ways, in the order in which `evaluate_last` gives them. A prompt of one token has no prefix: the
last three are then rows among 16, 48 and 128 equal ones."""

_BATCH_TOKENS = 4096
_THREE = 3
_TALLER = 4
_ALTERNATIVES = 16
_ROWS_OF_ONE = (16, 48, 128)

States = Mapping[Layer, Float[Tensor, "prompts hidden"]]


def evaluate_last(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    layers: Sequence[Layer],
    *,
    longest: int | None = None,
) -> dict[Layer, Float[Tensor, "prompts ways hidden"]]:
    """The last-token states of prompts in each of `WAYS`, all layers in the same passes.

    Args:
        decoder: the model.
        prompts: token ids.
        layers: which layers.
        longest: tokens of the longest prompt that these are compared with, whose shape all take; None:
            of the longest of them.
    """
    longest = longest or max(map(len, prompts))
    most = decoder.context or 2 * longest + 2 * GRAIN
    width = min(padded_length(longest), most)
    further = min(width + GRAIN, most)
    ways: list[States] = [
        _each(decoder, prompts, layers, _alone),
        _padded(decoder, prompts, layers, width, rows=1),
        _batched(decoder, prompts, layers, width),
        _padded(decoder, prompts, layers, further, rows=_THREE),
        _padded(decoder, prompts, layers, width, rows=_TALLER * max(1, 16 // width)),
        _each(decoder, prompts, layers, _behind_half),
        _each(decoder, prompts, layers, _behind_all),
        _each(decoder, prompts, layers, _side_by_side),
    ]
    return {layer: torch.stack([way[layer] for way in ways], dim=1) for layer in layers}


def _batched(
    decoder: Decoder, prompts: Sequence[Sequence[int]], layers: Sequence[Layer], width: int
) -> States:
    """In canonical batches of one width."""
    found = {}
    for batch in plan_batches(
        [width] * len(prompts), batch_tokens=_BATCH_TOKENS, context=decoder.context
    ):
        states = decoder.states(batch.ids(prompts), layers, positions=batch.last_positions(prompts))
        for at, row in enumerate(batch.rows):
            found[row] = {layer: states[layer][at] for layer in layers}
    return _stacked([found[row] for row in range(len(prompts))], layers)


def _padded(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    layers: Sequence[Layer],
    width: int,
    *,
    rows: int,
) -> States:
    """In passes of so many rows of one width; the last pass is filled with copies of its first row."""
    found = []
    for start in range(0, len(prompts), rows):
        some = list(prompts[start : start + rows])
        full = some + some[:1] * (rows - len(some))
        ids = torch.tensor([[*one, *[one[0]] * (width - len(one))] for one in full])
        last = torch.tensor([len(one) - 1 for one in full])
        states = decoder.states(ids, layers, positions=last)
        found += [{layer: states[layer][at] for layer in layers} for at in range(len(some))]
    return _stacked(found, layers)


_OneWay = Callable[[Decoder, Tensor, Sequence[Layer]], Mapping[Layer, Tensor]]


def _each(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    layers: Sequence[Layer],
    way: _OneWay,
) -> States:
    return _stacked([way(decoder, torch.tensor(list(one)), layers) for one in prompts], layers)


def _alone(decoder: Decoder, ids: Tensor, layers: Sequence[Layer]) -> Mapping[Layer, Tensor]:
    return _last(decoder.states(ids[None], layers, positions=torch.tensor([len(ids) - 1])))


def _behind_half(decoder: Decoder, ids: Tensor, layers: Sequence[Layer]) -> Mapping[Layer, Tensor]:
    half = len(ids) // 2
    if not half:
        return _among(decoder, ids, layers, _ROWS_OF_ONE[0])
    prefix = decoder.prefix(ids[:half], max(layers, key=depth))
    at = torch.tensor([len(ids) - half - 1])
    return _last(decoder.states(ids[None, half:], layers, positions=at, prefix=prefix))


def _behind_all(decoder: Decoder, ids: Tensor, layers: Sequence[Layer]) -> Mapping[Layer, Tensor]:
    if len(ids) == 1:
        return _among(decoder, ids, layers, _ROWS_OF_ONE[1])
    prefix = decoder.prefix(ids[:-1], max(layers, key=depth))
    return _last(decoder.candidates(prefix, ids[-1:], layers))


def _side_by_side(decoder: Decoder, ids: Tensor, layers: Sequence[Layer]) -> Mapping[Layer, Tensor]:
    if len(ids) == 1:
        return _among(decoder, ids, layers, _ROWS_OF_ONE[2])
    prefix = decoder.prefix(ids[:-1], max(layers, key=depth))
    others = (ids[-1] + torch.arange(_ALTERNATIVES)) % decoder.vocab_size
    return _last(decoder.candidates(prefix, others, layers))


def _among(
    decoder: Decoder, ids: Tensor, layers: Sequence[Layer], rows: int
) -> Mapping[Layer, Tensor]:
    first = torch.zeros(rows, dtype=torch.long)
    return _last(decoder.states(ids[None].expand(rows, 1), layers, positions=first))


def _last(states: Mapping[Layer, Tensor]) -> Mapping[Layer, Tensor]:
    """The first row, which is the one evaluated."""
    return {layer: rows[0] for layer, rows in states.items()}


def _stacked(found: Sequence[Mapping[Layer, Tensor]], layers: Sequence[Layer]) -> States:
    return {layer: torch.stack([one[layer].cpu() for one in found]) for layer in layers}
