"""Parts of a capture that workers compute side by side, with the rows of one process to the last bit.

The whole set decides which prompts share a batch, as in `capture`, and each batch runs in one worker in
the shape that it has anywhere. A beginning that batches share runs once in each part that holds some.
Whoever hands the parts out puts the rows into the sink: workers know no store.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from torch import Tensor

from pytest_injectivity.core.executor import Executor
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Bool, Float
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.batches import Batch
from pytest_injectivity.states.by_block import ByBlock
from pytest_injectivity.states.capture import BATCH_TOKENS, Capture, batches_of
from pytest_injectivity.states.shared_prefixes import LEAST_SAVING, Group, group_by_prefix
from pytest_injectivity.states.sinks import Announce, Progress, Sink

_PARTS = 8
"""Parts of each worker, where there are batches enough: none waits long for the last."""

_MOST_TOKENS = 2**16
"""Tokens of a part: a run that is killed loses some of these."""

_MOST_BYTES = 2**26
"""Bytes of the rows of a part, of which several are in memory as they travel."""

_WORTH_A_BEGINNING = 8
"""Times the tokens of a beginning that a part computes behind it: another part runs it again."""


@dataclass(frozen=True)
class CapturePart:
    """Batches that one worker runs.

    Attributes:
        rows: indexes of the prompts, in the whole set.
        prompts: their token ids; batches and groups name them by their place here.
        batches: of each group.
        done: by layer, which of them are captured already.
    """

    rows: tuple[int, ...]
    prompts: tuple[tuple[int, ...], ...]
    batches: tuple[tuple[Group, tuple[Batch, ...]], ...]
    done: Mapping[Layer, Bool[np.ndarray, " prompts"]]


@dataclass(frozen=True)
class CapturedPart:
    """What a worker sends back.

    Attributes:
        rows: of the part.
        taken: which prompts, by their place in the part, and their states by layer, batch by batch.
        said: sentences for the user.
    """

    rows: tuple[int, ...]
    taken: tuple[tuple[tuple[int, ...], Mapping[Layer, Tensor]], ...]
    said: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Unit:
    """A batch of a group, by its places in the group."""

    group: Group
    batch: Batch

    @property
    def rows(self) -> list[int]:
        """Its prompts, in the whole set."""
        return [self.group.rows[at] for at in self.batch.rows]

    @property
    def tokens(self) -> int:
        """What goes through the model, padding included."""
        return self.batch.height * self.batch.width


def parts_of(
    prompts: Sequence[Sequence[int]],
    done: Mapping[Layer, Bool[np.ndarray, " prompts"]],
    *,
    workers: int,
    row_bytes: int,
    context: int | None,
    batch_tokens: int = BATCH_TOKENS,
    least_saving: int = LEAST_SAVING,
) -> tuple[CapturePart, ...]:
    """Cuts what is not captured yet into parts of about as many tokens.

    Args:
        prompts: token ids of the whole set.
        done: the layers wanted, and of each the prompts whose rows are there already.
        workers: how many run parts side by side.
        row_bytes: bytes of a row of one layer.
        context: the model's context window.
        batch_tokens: tokens of one forward pass, padding included.
        least_saving: tokens that sharing a beginning must save.
    """
    units = [
        unit
        for group in group_by_prefix(prompts, least_saving=least_saving)
        for batch in batches_of(group, prompts, batch_tokens, context)
        if not all(there[(unit := _Unit(group, batch)).rows].all() for there in done.values())
    ]
    share = sum(unit.tokens for unit in units) / (workers * _PARTS)
    most_rows = max(1, _MOST_BYTES // (row_bytes * len(done)))
    return tuple(
        _part(cut, prompts, done) for cut in _cuts(units, min(share, _MOST_TOKENS), most_rows)
    )


def _cuts(units: Sequence[_Unit], tokens: float, most_rows: int) -> Iterator[list[_Unit]]:
    """Runs of batches that are parts: of some tokens, but of few rows."""
    cut: list[_Unit] = []
    for unit in units:
        if cut and _is_full(cut, unit.group, tokens, most_rows):
            yield cut
            cut = []
        cut.append(unit)
    if cut:
        yield cut


def _is_full(cut: Sequence[_Unit], following: Group, tokens: float, most_rows: int) -> bool:
    """Whether a part is long enough for the next batch, of this group, to begin another."""
    if sum(len(unit.batch.rows) for unit in cut) >= most_rows:
        return True
    behind = sum(unit.tokens for unit in cut if unit.group is following)
    worth = cut[-1].group is not following or behind >= _WORTH_A_BEGINNING * len(following.shared)
    return worth and sum(unit.tokens for unit in cut) >= tokens


def _part(
    units: Sequence[_Unit],
    prompts: Sequence[Sequence[int]],
    done: Mapping[Layer, Bool[np.ndarray, " prompts"]],
) -> CapturePart:
    """A part of these batches, whose prompts are named by their places in it."""
    rows: list[int] = []
    groups = []
    for _, run in groupby(units, key=lambda unit: id(unit.group)):
        together = list(run)
        start, batches = len(rows), []
        for unit in together:
            at = len(rows) - start
            batches.append(replace(unit.batch, rows=tuple(range(at, at + len(unit.batch.rows)))))
            rows += unit.rows
        group = Group(tuple(range(start, len(rows))), together[0].group.shared)
        groups.append((group, tuple(batches)))
    return CapturePart(
        tuple(rows),
        tuple(tuple(prompts[row]) for row in rows),
        tuple(groups),
        {layer: there[rows] for layer, there in done.items()},
    )


def capture_part(decoder: Decoder, part: CapturePart, batch_tokens: int) -> CapturedPart:
    """Captures a part, in a worker."""
    kept = _Kept()
    said: list[str] = []
    if decoder.streamed is not None:
        groups = [group for group, _ in part.batches]
        by_block = ByBlock(decoder, part.prompts, groups, part.done, kept)
        by_block.run(batch_tokens, announce=said.append)
        return CapturedPart(part.rows, tuple(kept.taken), tuple(said))
    run = Capture(
        decoder,
        part.prompts,
        done=part.done,
        batch_tokens=batch_tokens,
        announce=said.append,
        sink=kept,
    )
    for group, batches in part.batches:
        for _ in run.group(group, batches):
            pass
    return CapturedPart(part.rows, tuple(kept.taken), tuple(said))


class _Kept:
    """A sink that keeps what it takes, to be sent."""

    def __init__(self) -> None:
        self.taken: list[tuple[tuple[int, ...], Mapping[Layer, Tensor]]] = []

    def take(
        self, prompts: Sequence[int], states: Mapping[Layer, Float[Tensor, "prompts hidden"]]
    ) -> None:
        """Keeps the rows alone, not what they are a view of."""
        own = {layer: rows.clone() for layer, rows in states.items()}
        self.taken.append((tuple(prompts), own))


def capture_in_parts(
    executor: Executor,
    job: Callable[[CapturePart], CapturedPart],
    parts: Sequence[CapturePart],
    sink: Sink,
    *,
    total: int,
    progress: Progress | None = None,
    announce: Announce | None = None,
) -> None:
    """Has workers capture parts, and puts their rows into a sink as they come.

    Args:
        executor: the workers.
        job: captures a part, as `capture_part` does, with the model of the worker.
        parts: of a prompt set, as `parts_of` cuts it.
        sink: takes the rows.
        total: prompts of the set; those in no part are done.
        progress: told how many prompts are done.
        announce: told what workers have to say, each sentence once.
    """
    finished = total - sum(len(part.rows) for part in parts)
    said: set[str] = set()
    with closing(executor.map(job, parts)) as captured:
        for one in captured:
            for sentence in one.said:
                if announce is not None and sentence not in said:
                    announce(sentence)
            said.update(one.said)
            for places, states in one.taken:
                sink.take([one.rows[at] for at in places], states)
            finished += len(one.rows)
            if progress is not None:
                progress(finished, total)
