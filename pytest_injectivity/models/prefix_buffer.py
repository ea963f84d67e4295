"""Holds the cached prefixes of many prompts, each of its own length, so that none is computed twice.

Keys and values lie in one buffer a block, a row a prompt and a column a position. A pass that
continues some of the rows reads their columns, under a mask that hides from each row what is not
its own prefix (`seen`), and what it computed is kept for as many tokens as turn out to be right.
Families whose attention takes no such mask keep the tokens alone, and run them again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Bool, Float, Int
from pytest_injectivity.models.prefix import Prefix, empty_cache


@dataclass(frozen=True, eq=False)
class Continued:
    """The result of a pass that continued some prefixes of a buffer.

    Attributes:
        rows: the prefixes continued, by number.
        ids: what they were continued by, ``(rows, width)``.
        depth: the deepest layer, that of the buffer.
        at: by layer its states, ``(rows, width, hidden)``.
        fresh: for each block the keys and values of ``ids``; empty where none are cached.
    """

    rows: tuple[int, ...]
    ids: Int[Tensor, "rows width"]
    depth: Layer
    at: Mapping[Layer, Float[Tensor, "rows width hidden"]]
    fresh: tuple[tuple[Tensor, Tensor], ...] = ()

    @property
    def states(self) -> Float[Tensor, "rows width hidden"]:
        """The states at the depth of the buffer."""
        return self.at[self.depth]


@dataclass(eq=False)
class PrefixBuffer:
    """Token ids of many prompts, with the keys and values of the blocks up to a depth.

    One :class:`~pytest_injectivity.models.prefix.Prefix` is never changed; a buffer grows and shrinks.

    Attributes:
        depth: the deepest layer that may be asked of a continuation.
        room: the longest prefix kept.
        ids: the tokens kept, prompt by prompt.
        blocks: for each block its keys and values, ``(prompts, heads, room, width)``; empty before the
            first tokens are kept, and where nothing but the tokens is.
    """

    depth: Layer
    room: int
    ids: list[tuple[int, ...]]
    blocks: tuple[tuple[Tensor, Tensor], ...] = field(default=())

    def lengths(self, rows: Sequence[int]) -> Int[Tensor, " rows"]:
        """How many tokens each of these rows has."""
        return torch.tensor([len(self.ids[row]) for row in rows], dtype=torch.long)

    def cache(self, rows: Sequence[int], config: PreTrainedConfig) -> DynamicCache:
        """A cache of these rows, as wide as the longest of them; this object stays as it is."""
        cache = empty_cache(config)
        widest = int(self.lengths(rows).max())
        for layer, kept in zip(cache.layers, self.blocks if widest else (), strict=False):
            _fill(layer, *(side[list(rows), :, :widest] for side in kept))
        return cache

    def alone(
        self, row: int, length: int, config: PreTrainedConfig, device: torch.device
    ) -> Prefix:
        """The beginning of one row as a prefix of its own: views, good until more is kept."""
        ids, cache = self.ids[row][:length], empty_cache(config)
        for layer, kept in zip(cache.layers, self.blocks if ids else (), strict=False):
            _fill(layer, *(side[row : row + 1, :, : len(ids)] for side in kept))
        return Prefix(torch.tensor(ids, dtype=torch.long, device=device), self.depth, cache)

    def keep(self, continued: Continued, counts: Sequence[int]) -> None:
        """Adds to each row the first of the tokens that it was continued by.

        Args:
            continued: the result of the pass.
            counts: for each of its rows, how many of the tokens are kept.
        """
        if continued.fresh and not self.blocks:
            self.blocks = tuple(
                (self._empty(keys), self._empty(values)) for keys, values in continued.fresh
            )
        # One flat list of cells: row, column of the buffer, row and column of what was computed.
        cells = torch.tensor(
            [
                (row, len(self.ids[row]) + column, at, column)
                for at, (row, count) in enumerate(zip(continued.rows, counts, strict=True))
                for column in range(count)
            ],
            dtype=torch.long,
        ).reshape(-1, 4)
        row, column, at, new = cells.unbind(1)
        for kept, fresh in zip(self.blocks, continued.fresh, strict=True):
            for buffer, computed in zip(kept, fresh, strict=True):
                buffer[row, :, column] = computed[at, :, new]
        ids = continued.ids.tolist()
        for number, (one, count) in enumerate(zip(continued.rows, counts, strict=True)):
            self.ids[one] = (*self.ids[one], *ids[number][:count])

    def cut(self, row: int, length: int) -> None:
        """Cuts a row to its first ``length`` tokens."""
        self.ids[row] = self.ids[row][:length]

    def _empty(self, computed: Tensor) -> Tensor:
        _, heads, _, width = computed.shape
        # Zeros: what no row may see is still multiplied, by zero.
        return computed.new_zeros(len(self.ids), heads, self.room, width)


def seen(
    lengths: Int[Tensor, " rows"], width: int, *, side_by_side: bool, cached: bool = True
) -> Bool[Tensor, "rows 1 width columns"]:
    """Makes the mask of what each new token attends to: its own prefix, itself, and tokens before it.

    Args:
        lengths: of each row's prefix; the columns of the widest come first.
        width: new tokens a row.
        side_by_side: the new tokens are alternatives at one position and do not see each other;
            else they follow one another.
        cached: the prefixes have columns (layer 0 caches none).
    """
    widest = int(lengths.max()) if cached else 0
    before = torch.arange(widest, device=lengths.device) < lengths[:, None]
    new = torch.ones(width, width, dtype=torch.bool, device=lengths.device)
    new = new.diag().diag() if side_by_side else new.tril()
    rows = len(lengths)
    return torch.cat(
        [before[:, None].expand(rows, width, widest), new.expand(rows, width, width)], dim=2
    )[:, None]


def _fill(layer: Any, keys: Tensor, values: Tensor) -> None:
    layer.lazy_initialization(keys, values)
    layer.keys, layer.values = keys, values
