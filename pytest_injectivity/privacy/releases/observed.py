"""The rows observed of prompts before any release: states, caches, logits, attention or experts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pytest_injectivity.config.release_place import ANSWERED, Place
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float, Int64
from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.greedy import answered
from pytest_injectivity.models.head import Head
from pytest_injectivity.models.recorded import recorded
from pytest_injectivity.privacy.releases.protocol import Release, draws

MOST_LOGITS = 2**26
"""Logits of all tokens after one prefix that are held at once: 256 MB."""


@dataclass(frozen=True, eq=False)
class Observed:
    """The rows observed of prompts, before a release acts on them.

    Attributes:
        place: what is observed of each prompt; its layer counts from the first.
        prompts: the token ids, which attacks are judged by.
        rows: the ``(positions, width)`` rows of each prompt, in the model's dtype and on its device. A
            row of keys and values holds the keys first (`flatten_cache`), one of two layers the
            deeper one.
        sides: the widths that make up a row: one for states, two for the keys and values of each block
            or for the states of two layers, since a release acts on each side by itself.
        known: special tokens that every prompt begins with, which an attacker knows.
        model: the sender's model, which computed the rows; None: they are from elsewhere.
    """

    place: Place
    prompts: tuple[tuple[int, ...], ...] = field(repr=False)
    rows: tuple[Float[Tensor, "_positions width"], ...] = field(repr=False)
    sides: tuple[int, ...]
    known: tuple[int, ...] = ()
    model: Decoder | None = field(default=None, repr=False)

    @property
    def layer(self) -> Layer:
        """The layer observed."""
        return self.place.layer

    @property
    def width(self) -> int:
        """Number of coordinates of a row."""
        return sum(self.sides)

    def positions(self, prompt: int) -> tuple[int, ...]:
        """The positions of a prompt's rows."""
        return self.place.positions(len(self.prompts[prompt]))

    def released(
        self, release: Release, seed: int
    ) -> tuple[Float[Tensor, "_positions width"], ...]:
        """What the sender sends of each prompt; it depends on the seed and the prompt alone."""
        pairs = zip(self.rows, self.prompts, strict=True)
        return tuple(release.apply(rows, draws(seed, ids)) for rows, ids in pairs)

    def received(
        self, release: Release, seed: int
    ) -> tuple[Float[Tensor, "_positions width"], ...]:
        """What the receiver makes of the rows sent of each prompt."""
        pairs = zip(self.released(release, seed), self.prompts, strict=True)
        return tuple(release.undo(sent, draws(seed, ids)) for sent, ids in pairs)


def observe_place(
    decoder: Decoder,
    place: Place,
    prompts: Sequence[Sequence[int]],
    known: tuple[int, ...] = (),
) -> Observed:
    """Runs prompts and keeps the rows that a place names.

    Args:
        decoder: the model.
        place: what is observed; a negative layer counts back from the last.
        prompts: the token ids of each prompt, at least one token each.
        known: special tokens that all prompts begin with, which an attacker knows.

    Raises:
        LayerError: the model has no such layer.
        ModelError: keys and values are asked for, and the block caches none or not those of every
            position; or logits, of a vocabulary that is too large to compare all tokens by.
    """
    there = place.resolved(decoder.n_layers)
    kept = tuple(tuple(map(int, ids)) for ids in prompts)
    of_one = _rows_of(decoder, there)
    parts = [of_one(ids) for ids in kept]
    rows = tuple(shown_rows(there, torch.cat(sides, dim=1)) for sides in parts)
    return Observed(there, kept, rows, tuple(side.shape[1] for side in parts[0]), known, decoder)


def shown_rows(
    place: Place, rows: Float[Tensor, "positions width"]
) -> Float[Tensor, "_shown width"]:
    """What a place shows of the rows of a prompt, or of its answer: some of them, or their mean."""
    if place.averaged:
        return rows.mean(dim=0, keepdim=True)
    return rows[list(place.positions(len(rows)))]


def read_tokens(
    decoder: Decoder, place: Place, ids: Int64[Tensor, "prompts length"]
) -> tuple[Int64[Tensor, "prompts longer"], int]:
    """The tokens that are run for a place, and the first position whose rows are of it.

    Args:
        decoder: the model.
        place: what is observed.
        ids: prompts of one length.
    """
    if not place.answer:
        return ids, 0
    return answered(decoder, ids, ANSWERED), ids.shape[1]


def flatten_cache(
    keys: Float[Tensor, "batch heads positions dim"],
    values: Float[Tensor, "batch heads positions other"],
    place: Place,
) -> tuple[Float[Tensor, "batch positions _side"], ...]:
    """What a block caches, as rows: the heads joined; keys, values, or both in this order.

    Args:
        keys: the keys of one block as the library caches them, rotary positions applied.
        values: the values of the same block.
        place: says which of them are observed.
    """
    chosen = {"keys": (keys,), "values": (values,)}.get(place.what, (keys, values))
    return tuple(side.transpose(1, 2).flatten(2) for side in chosen)


_Sides = tuple[Float[Tensor, "positions _side"], ...]


def _rows_of(decoder: Decoder, place: Place) -> Callable[[tuple[int, ...]], _Sides]:
    """What gives the rows of one prompt at all positions, side by side."""
    if place.cached:
        return partial(_cached, decoder, place)
    if what := place.recorded:
        block = int(place.layer)
        return lambda ids: (recorded(decoder, torch.tensor([ids]), block, what)[0],)
    seen = seen_of_states(decoder, place)

    def of_one(ids: tuple[int, ...]) -> _Sides:
        whole, first = read_tokens(decoder, place, torch.tensor([ids]))
        states = decoder.states(whole, place.layers)
        return tuple(seen(states[layer][0, first:]) for layer in place.layers)

    return of_one


def rows_of_states(
    place: Place,
    seen: Callable[[Float[Tensor, "rows hidden"]], Float[Tensor, "rows _side"]],
    states: Mapping[Layer, Float[Tensor, "rows hidden"]],
) -> Float[Tensor, "rows width"]:
    """The rows at a place that is not of a cache.

    Args:
        place: what is observed.
        seen: what is observed of states (`seen_of_states`).
        states: those of each layer of the place.
    """
    sides = [seen(states[layer]) for layer in place.layers]
    return sides[0] if len(sides) == 1 else torch.cat(sides, dim=1)


def seen_of_states(
    decoder: Decoder, place: Place
) -> Callable[[Float[Tensor, "rows hidden"]], Float[Tensor, "rows width"]]:
    """What turns a layer's states into what is observed of them: themselves, or logits.

    Args:
        decoder: the model.
        place: what is observed, not of a cache.

    Raises:
        ModelError: the logits of all tokens would take too much memory.
    """
    if place.what == "states":
        return lambda states: states
    head = Head(decoder)
    if head.vocab_size * decoder.vocab_size > MOST_LOGITS:
        raise ModelError(
            f"{decoder.source}: to compare all tokens by their logits takes {decoder.vocab_size:,} times"
            f" {head.vocab_size:,} numbers a position, more than {MOST_LOGITS:,}: observe norm instead,"
            " which the head makes them of"
        )
    return head.logits


def _cached(decoder: Decoder, place: Place, ids: tuple[int, ...]) -> _Sides:
    cache = decoder.prefix(torch.tensor(ids), place.layer).cache
    if cache is None:
        raise ModelError(
            f"{decoder.source} caches no keys and values that could be transferred: observe its"
            f" states, as in identity@{place.layer}"
        )
    sides: list[Float[Tensor, "positions _side"]] = []
    for at in place.blocks:
        block: Any = cache.layers[at - 1]
        if block.keys is None or block.values is None or block.keys.shape[2] < len(ids):
            kept = 0 if block.keys is None else block.keys.shape[2]
            raise ModelError(
                f"block {at} of {decoder.source} caches the last {kept} of {len(ids)} tokens:"
                " give tokens= of no more than that"
            )
        both = flatten_cache(block.keys, block.values, place)
        sides += [side[0].to(decoder.device) for side in both]
    return tuple(sides)


def rows_of_caches(
    place: Place,
    cached: Sequence[
        tuple[
            Float[Tensor, "batch heads positions dim"], Float[Tensor, "batch heads positions other"]
        ]
    ],
) -> Float[Tensor, "batch width"]:
    """The rows at a place of a cache, of the first of the positions given.

    Args:
        place: what is observed.
        cached: the keys and values of each block.
    """
    sides = [side for at in place.blocks for side in flatten_cache(*cached[at - 1], place)]
    # Several devices may share the blocks.
    return torch.cat([side.to(sides[0].device) for side in sides], dim=2)[:, 0]
