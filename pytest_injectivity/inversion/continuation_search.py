"""Computes the continuations of prompts, each prompt and layer once and only when asked for.

One pass over the vocabulary gives the tables of as many layers as fit in memory. What was found in
a table is kept (`continuations`); pairs within a distance, and nearest rivals in large
vocabularies, look at the table again, which is computed again unless it is the last one and not large.

The empty prompt's table is that of the first position, the same for every prompt. ``None`` in a prompt's
place asks for the table of the input embedding's rows, before any position: of all tokens, where every
other table has one token of each class of equal rows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.executor import Executor
from pytest_injectivity.core.layers import Layer, depth
from pytest_injectivity.core.number_keys import NumberKey
from pytest_injectivity.core.shapes import Float, Float64, Int64
from pytest_injectivity.geometry.equal_rows import EqualRows
from pytest_injectivity.geometry.search.near_pairs import NearPairs, pairs_within
from pytest_injectivity.geometry.search.neighbors import nearest_neighbors
from pytest_injectivity.inversion.continuations import Continuations, finite_continuations
from pytest_injectivity.inversion.near_tokens import NearTokens, Reach, near_tokens
from pytest_injectivity.inversion.token_classes import TokenClasses
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.prompts.promptset import prompt_hash

# Share of the free memory that is used: for the tables of a group of layers, each beside the
# batches it is put together from, and for the float64 temporaries of the search in one of them, in
# bytes an element.
_SHARE_OF_FREE = 0.5
_WORKING_BYTES = 32

Before: TypeAlias = Sequence[int] | None
"""The token ids that every token continues (an empty prompt: every token is put first); None for
the rows of the input embedding, which are no states of a layer above 0."""

RememberEach = Callable[[Mapping[Any, NumberKey], Callable[[tuple[Any, ...]], Any]], Any]
"""``remember_each(keys, compute)`` returns a mapping with the same keys as ``keys``: the numbers kept
under these, and of the others what ``compute(missing)`` returns, frozen dataclasses of arrays and plain
data. A number's key holds every argument but the model."""


@dataclass(frozen=True)
class ContinuationsKey(NumberKey):
    """What is found in the table of a prompt's continuations.

    Attributes:
        prompt: the hash of the prompt's ids; None: the rows of the input embedding.
        layer: the layer.
    """

    together = ("layer",)

    prompt: str | None
    layer: Layer


@dataclass(frozen=True)
class NearContinuationsKey(NumberKey):
    """The pairs of continuations within a distance.

    Attributes:
        table: the continuations.
        eps: the distance, in the states' units.
        limit: how many pairs are listed; all are counted.
    """

    table: ContinuationsKey
    eps: float
    limit: int


@dataclass(frozen=True)
class NearResolutionKey(NumberKey):
    """The pairs of distinct continuations that the resolution may not tell apart.

    Attributes:
        table: the continuations.
        distance: within which a pair is looked at, in the states' units.
        radius: likewise, scaled.
        scale: names the resolution of each coordinate.
        limit: how many pairs are listed; all are counted.
    """

    table: ContinuationsKey
    distance: float
    radius: float
    scale: str
    limit: int


@dataclass(frozen=True)
class RivalsKey(NumberKey):
    """The distance of each continuation from its nearest rival."""

    table: ContinuationsKey


def forgetful(keys: Mapping[Any, NumberKey], compute: Callable[[tuple[Any, ...]], Any]) -> Any:
    """Computes everything: a `RememberEach` that keeps nothing."""
    return compute(tuple(keys))


class ContinuationSearch:
    """The continuations of prompts, each prompt and layer searched once and only when asked for.

    Args:
        decoder: gives the model; asked only where something is computed.
        classes: gives the vocabulary's classes of equal embedding rows.
        free: says how many bytes are free where the model is.
        remember: asked for everything that takes a pass over the vocabulary.
        executor: workers that large searches in a table are shared among.
        rivals_at_once: up to so many continuations the search of all their nearest rivals costs less
            than the pass, and is made with it.
        held_bytes: up to so many bytes the last table is held, for the next question about it.
    """

    def __init__(
        self,
        decoder: Callable[[], Decoder],
        classes: Callable[[], TokenClasses],
        free: Callable[[], int],
        remember: RememberEach = forgetful,
        *,
        executor: Executor | None = None,
        rivals_at_once: int = 4096,
        held_bytes: int = 2**28,
    ) -> None:
        self._decoder = decoder
        self._classes = classes
        self._free = free
        self._remember = remember
        self._executor = executor
        self._rivals_at_once = rivals_at_once
        self._held_bytes = held_bytes
        self._held: dict[tuple[tuple[int, ...] | None, Layer], Tensor] = {}
        self._found: dict[tuple[tuple[int, ...] | None, Layer], Continuations] = {}

    @cached_property
    def classes(self) -> TokenClasses:
        """The vocabulary's classes of equal embedding rows."""
        return self._classes()

    def tokens(self, prompt: Before) -> Int64[Tensor, " tokens"]:
        """The token ids compared, ascending: one of each class; all of them as embedding rows."""
        return torch.tensor(self.classes.known) if prompt is None else self.classes.tokens

    def of(self, prompt: Before, layers: Sequence[Layer]) -> dict[Layer, Continuations]:
        """The continuations of a prompt that does not fill the context, at each layer.

        Args:
            prompt: token ids; None for the embedding rows, which are the same at every layer.
            layers: which.

        Raises:
            LayerError: the model has no such layer.
            PromptError: the prompt fills the context, or an id is not the model's.
        """
        ids = _ids(prompt)
        missing = [layer for layer in layers if (ids, layer) not in self._found]
        found: Mapping[Layer, Continuations] = self._remember(
            {layer: _key(ids, layer) for layer in missing},
            lambda unknown: {
                layer: Continuations.of(
                    self.tokens(ids), table, self._rivals_at_once, self._executor
                )
                for layer, table in self._tables(ids, unknown)
            },
        )
        self._found |= {(ids, layer): one for layer, one in found.items()}
        return {layer: self._found[ids, layer] for layer in layers}

    def within(self, prompt: Before, layer: Layer, eps: float, limit: int) -> NearPairs:
        """The pairs of continuations at most eps apart, as token ids, closest first.

        Args:
            prompt: token ids.
            layer: the layer.
            eps: absolute, in the states' units.
            limit: how many pairs to list; all are counted.
        """
        found = self.of(prompt, [layer])[layer]
        if found.closest > eps:
            return found.equal_pairs(limit)
        key = NearContinuationsKey(_key(prompt, layer), float(eps), limit)
        near: NearPairs = self._one(key, lambda: self._near(prompt, layer, eps, limit))
        return near

    def near_resolution(
        self, prompt: Sequence[int], layer: Layer, reach: Reach, limit: int
    ) -> NearTokens:
        """The pairs of distinct continuations that the resolution may not tell apart, as token ids.

        Args:
            prompt: token ids.
            layer: the layer.
            reach: of the place.
            limit: how many pairs to list, closest in the scaled distance first; all are counted.
        """
        if self.of(prompt, [layer])[layer].closest > reach.distance:
            none = np.zeros(0, dtype=np.int64)
            return NearTokens(NearPairs(0, none, none, np.zeros(0)))
        key = NearResolutionKey(
            _key(prompt, layer), reach.distance, reach.radius, reach.digest, limit
        )
        near: NearTokens = self._one(key, lambda: self._doubtful(prompt, layer, reach, limit))
        return near

    def rivals(self, prompt: Before, layer: Layer) -> Float64[np.ndarray, " compared"]:
        """Each finite continuation's distance from its nearest rival, by ascending token id.

        A search of all nearest neighbors: past some thousand tokens it costs more than the pass.
        """
        found = self.of(prompt, [layer])[layer]
        if found.rivals is not None:
            return found.rivals
        if found.pair is None:  # all are equal, or there is no other
            return np.zeros(found.compared if found.equal else 0)
        rivals: Float64[np.ndarray, " compared"] = self._one(
            RivalsKey(_key(prompt, layer)),
            lambda: (
                nearest_neighbors(self._table(prompt, layer)[1], executor=self._executor).distance
            ),
        )
        return rivals

    def _one(self, key: NumberKey, compute: Callable[[], Any]) -> Any:
        return self._remember({None: key}, lambda _: {None: compute()})[None]

    def _near(self, prompt: Before, layer: Layer, eps: float, limit: int) -> NearPairs:
        tokens, rows = self._table(prompt, layer)
        near = pairs_within(rows, eps, limit=limit, executor=self._executor)
        return NearPairs(near.count, tokens[near.left], tokens[near.right], near.distance)

    def _doubtful(
        self, prompt: Sequence[int], layer: Layer, reach: Reach, limit: int
    ) -> NearTokens:
        tokens, rows = self._table(prompt, layer)
        distinct = EqualRows.of(rows).representatives
        if len(distinct) < len(rows):
            tokens, rows = tokens[distinct], rows[torch.from_numpy(distinct).to(rows.device)]
        found = near_tokens(rows, reach, limit, executor=self._executor)
        near = found.pairs
        named = NearPairs(near.count, tokens[near.left], tokens[near.right], near.distance)
        return NearTokens(named, found.sampled)

    def _table(
        self, prompt: Before, layer: Layer
    ) -> tuple[Int64[np.ndarray, " compared"], Float[Tensor, "compared hidden"]]:
        ids = _ids(prompt)
        table = self._held.get((ids, layer))
        if table is None:
            ((_, table),) = self._tables(ids, [layer])
        return finite_continuations(self.tokens(prompt), table)

    def _tables(
        self, ids: tuple[int, ...] | None, layers: Sequence[Layer]
    ) -> Iterator[tuple[Layer, Float[Tensor, "tokens hidden"]]]:
        """The table of each layer, shallow first; no more than a group of them is held at a time."""
        decoder, ordered = self._decoder(), sorted(layers, key=depth)
        tokens = self.tokens(ids)
        if ids is None:
            rows = decoder.embedding_matrix()
            table = _where_distances_are(rows[tokens.to(rows.device)])
            for layer in ordered:
                yield layer, self._holding((ids, layer), table)
            return
        together = self._layers_at_once(decoder)
        for start in range(0, len(ordered), together):
            group = ordered[start : start + together]
            prefix = decoder.prefix(torch.tensor(ids, dtype=torch.long), group[-1])
            # A row each: equal tokens have equal states, bit for bit.
            tables = decoder.candidates(prefix, tokens, group, side_by_side=False)
            for layer in group:
                table = _where_distances_are(tables.pop(layer))
                yield layer, self._holding((ids, layer), table)

    def _holding(self, at: tuple[tuple[int, ...] | None, Layer], table: Tensor) -> Tensor:
        """The table, held in place of the last one where it is not too large."""
        self._held = {at: table} if table.nbytes <= self._held_bytes else {}
        return table

    def _layers_at_once(self, decoder: Decoder) -> int:
        share = self._free() * _SHARE_OF_FREE
        elements = len(self.classes) * decoder.hidden_size
        table = 2 * elements * decoder.dtype.itemsize
        return max(1, int((share - _WORKING_BYTES * elements) // table))


def _ids(prompt: Before) -> tuple[int, ...] | None:
    return None if prompt is None else tuple(prompt)


def _key(prompt: Before, layer: Layer) -> ContinuationsKey:
    return ContinuationsKey(None if prompt is None else prompt_hash(prompt), layer)


def _where_distances_are(table: Float[Tensor, "tokens hidden"]) -> Float[Tensor, "tokens hidden"]:
    # Distances are float64, which mps does not have.
    return table if table.device.type == "cuda" else table.cpu()
