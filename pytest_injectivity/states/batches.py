"""Plans which prompts share a forward pass, and in what shape.

Batches of exactly equal lengths are tiny (193 lengths among 948 prompts), and one padded batch wastes
most of its tokens; buckets of similar lengths avoid both. Padding is on the right, where with causal
attention no real token sees it.

Shapes are canonical: padded lengths are multiples of 8, and a batch holds a multiple of 16 tokens, for
which dummy rows are added at its end. A row's bits then depend neither on its neighbors nor on how many
there are (docs/log.md, 2026-11-22); in other shapes the matrix products have tail rows whose last bits
differ. Where the context is no multiple of 8, prompts that are longer than its last multiple of 8 run
alone, always in the same shape.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Bool, Int64

GRAIN = 8
"""Padded lengths are multiples of this, and so are shared prefixes."""

_FINEST_BUCKETS = 32
_BATCH_MULTIPLE = 16


@dataclass(frozen=True)
class Batch:
    """One forward pass.

    Attributes:
        rows: indexes of the prompts in it; dummy rows follow them.
        width: padded length in tokens.
    """

    rows: tuple[int, ...]
    width: int

    @property
    def height(self) -> int:
        """Rows of the pass: the prompts, and a dummy where 16 tokens do not divide them."""
        step = _height_step(self.width)
        return -(-len(self.rows) // step) * step

    def halves(self) -> "tuple[Batch, Batch]":
        """The same prompts in two batches; at least two prompts are needed."""
        middle = len(self.rows) // 2
        return Batch(self.rows[:middle], self.width), Batch(self.rows[middle:], self.width)

    def ids(self, prompts: Sequence[Sequence[int]]) -> Int64[Tensor, "batch length"]:
        """The padded token ids; dummy rows repeat the first row.

        A row is padded with a token of its own: attention multiplies what it may not see by zero,
        and zero times another prompt's NaN would be NaN.
        """
        padded = torch.full((self.height, self.width), prompts[self.rows[0]][0], dtype=torch.int64)
        for at, row in enumerate(self.rows):
            padded[at] = prompts[row][0]
            padded[at, : len(prompts[row])] = torch.tensor(prompts[row])
        return padded

    def real(self, prompts: Sequence[Sequence[int]]) -> Bool[Tensor, "batch length"]:
        """Which of the places hold a token of a prompt: neither padding nor a dummy."""
        places = torch.zeros(self.height, self.width, dtype=torch.bool)
        for at, row in enumerate(self.rows):
            places[at, : len(prompts[row])] = True
        return places

    def last_positions(self, prompts: Sequence[Sequence[int]]) -> Int64[Tensor, " batch"]:
        """The index of each row's last token; 0 for dummy rows."""
        last = torch.zeros(self.height, dtype=torch.int64)
        last[: len(self.rows)] = torch.tensor([len(prompts[row]) - 1 for row in self.rows])
        return last


def plan_batches(
    lengths: Sequence[int], *, batch_tokens: int, context: int | None = None, prefix: int = 0
) -> tuple[Batch, ...]:
    """Batches that cover every prompt once, longest first (so that memory runs out at the start).

    Args:
        lengths: tokens of each prompt, at least 1, those of a shared prefix left out.
        batch_tokens: tokens that one pass holds, padding, dummies and the prefix of every row
            included; the least canonical shape (1 or 2 rows) may exceed it.
        context: the model's context window, which prefix and padded row never exceed.
        prefix: length of the cached prefix that every row continues.
    """
    room = None if context is None else context - prefix
    buckets: dict[int, list[int]] = {}
    for row, length in enumerate(lengths):
        buckets.setdefault(_width(length, room), []).append(row)
    batches = []
    for width, rows in sorted(buckets.items(), reverse=True):
        step = _height_step(width)
        most = max(1, batch_tokens // (prefix + width) // step) * step
        height = 1 if width % GRAIN else most
        batches += [
            Batch(tuple(rows[start : start + height]), width)
            for start in range(0, len(rows), height)
        ]
    return tuple(batches)


def padded_length(length: int) -> int:
    """The bucket of a length: multiples of 8 up to 256, then 16 steps to every doubling."""
    step = GRAIN
    while length > step * _FINEST_BUCKETS:
        step *= 2
    return -(-length // step) * step


def _width(length: int, room: int | None) -> int:
    """A prompt's padded length within the room there is: canonical where it can be."""
    width = padded_length(length)
    if room is None or width <= room:
        return width
    widest = room // GRAIN * GRAIN
    return widest if length <= widest else room


def _height_step(width: int) -> int:
    """Rows come in multiples of this; a width that is not canonical is for one row alone."""
    return 1 if width % GRAIN else _BATCH_MULTIPLE // gcd(_BATCH_MULTIPLE, width)
