"""Captures prompts block after block, for models whose blocks are read from disk one at a time.

Each block is read once and run on all batches before the next one is read. Batches, shared beginnings
and passes are those of `capture`, and so are the bits of the rows. Between two blocks the states at
every position are kept (`shelf`); what a block caches of a shared beginning is kept while it runs.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer, depth
from pytest_injectivity.core.shapes import Bool, Int
from pytest_injectivity.models.block_runs import BlockRuns
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.prefix import Prefix
from pytest_injectivity.states.batches import plan_batches
from pytest_injectivity.states.memory import is_out_of_memory, too_long
from pytest_injectivity.states.shared_prefixes import Group
from pytest_injectivity.states.shelf import Shelf
from pytest_injectivity.states.sinks import Announce, Progress, Sink


@dataclass(frozen=True)
class _Batch:
    """A batch that goes from block to block.

    Attributes:
        place: of its states on the shelf.
        ids: its token ids, those of a cached beginning left out.
        last: the index of each row's last token.
        prompts: the prompts of its rows, by index; dummies follow them.
        steps: how many blocks it runs through, and one more where the final norm is wanted.
        tokens: that go through the model, those of a beginning that is run again left out.
    """

    place: int
    ids: Int[Tensor, "height width"]
    last: Int[Tensor, " height"]
    prompts: tuple[int, ...]
    steps: int
    tokens: int


class _NoRoom(Exception):  # noqa: N818 - batches of half the size are tried
    """Memory does not hold what a batch computes."""


@dataclass(frozen=True)
class _Together:
    """Batches of one group.

    Attributes:
        beginning: the ids that they continue and the place of these states; None: they continue nothing.
        batches: the batches.
        shared: tokens of the beginning, run again or not.
    """

    beginning: tuple[Int[Tensor, " length"], int] | None
    batches: tuple[_Batch, ...]
    shared: int

    @property
    def steps(self) -> int:
        """The blocks that the longest run goes through."""
        return max(one.steps for one in self.batches)


class ByBlock:
    """A capture that runs block after block.

    Args:
        decoder: the model.
        prompts: token ids.
        groups: which of them share a beginning.
        done: the layers wanted, and of each the prompts whose rows are there already.
        sink: takes the rows, one layer of a batch at a time.
        budget: bytes of states between two blocks that are held in memory; more are held in a file.
            None: half of the free memory.

    Attributes:
        done: as given, and what was captured since.
        token_forwards: tokens that went through the model, padding included.
        shared_tokens: tokens that did not, because their beginning was shared.
    """

    def __init__(
        self,
        decoder: Decoder,
        prompts: Sequence[Sequence[int]],
        groups: Sequence[Group],
        done: Mapping[Layer, Bool[np.ndarray, " prompts"]],
        sink: Sink,
        *,
        budget: int | None = None,
    ) -> None:
        self.done = {layer: there.copy() for layer, there in done.items()}
        self.token_forwards = 0
        self.shared_tokens = 0
        self._decoder = decoder
        self._prompts = prompts
        self._sink = sink
        self._budget = budget
        self._groups = groups
        self._shapes: list[tuple[int, int, int]] = []

    def run(
        self,
        batch_tokens: int,
        *,
        progress: Progress | None = None,
        announce: Announce | None = None,
    ) -> None:
        """Captures what is not done; in batches of half the size where memory runs out.

        Args:
            batch_tokens: tokens of one pass, padding included.
            progress: told how many prompts' worth of blocks are done.
            announce: told when memory ran out.

        Raises:
            ModelError: memory does not hold a single prompt.
        """
        longest = max(map(len, self._prompts))
        while True:
            try:
                self._run(batch_tokens, progress)
            except _NoRoom as error:
                if batch_tokens <= longest:
                    raise too_long(self._decoder.source, self._decoder.device, longest) from error
            else:
                return
            torch.cuda.empty_cache()
            batch_tokens //= 2
            if announce is not None:
                announce(f"out of memory: going on with {batch_tokens} tokens a pass")

    def _run(self, batch_tokens: int, progress: Progress | None) -> None:
        self._shapes = []
        self.shared_tokens = 0
        planned = [self._planned(group, batch_tokens) for group in self._groups]
        groups = [group for group in planned if group.batches]
        if not groups:
            return
        total = sum(one.steps for group in groups for one in group.batches)
        ran, runs = 0, BlockRuns(self._decoder)
        with Shelf(self._shapes, budget=self._budget) as shelf:
            for step in range(max(group.steps for group in groups)):
                with runs.at(step):
                    for _ in self._step(runs, shelf, groups, step):
                        ran += 1
                        if progress is not None:
                            progress(len(self._prompts) * ran // total, len(self._prompts))
        self.token_forwards += sum(group.shared for group in groups)

    def _planned(self, group: Group, batch_tokens: int) -> _Together:
        """The batches of a group in which something is missing."""
        decoder, shared = self._decoder, len(group.shared)
        rests = [self._prompts[row][shared:] for row in group.rows]
        beginning = torch.tensor(group.shared, dtype=torch.long)
        again = bool(shared) and decoder.family.prefix == "recompute"
        batches = []
        for batch in plan_batches(
            [len(rest) for rest in rests],
            batch_tokens=batch_tokens,
            context=decoder.context,
            prefix=shared,
        ):
            prompts = tuple(group.rows[at] for at in batch.rows)
            missing = [layer for layer, done in self.done.items() if not done[list(prompts)].all()]
            if not missing:
                continue
            ids, last = batch.ids(rests), batch.last_positions(rests)
            if again:
                ids = torch.cat([beginning.expand(len(ids), -1), ids], dim=1)
                last = last + shared
            deepest = max(missing, key=depth)
            steps = decoder.n_layers + 1 if deepest == "norm" else max(int(deepest), 1)
            tokens = batch.height * batch.width
            batches.append(_Batch(self._place(ids), ids, last, prompts, steps, tokens))
        if not shared or not batches:
            return _Together(None, tuple(batches), shared)
        self.shared_tokens += shared * (len(group.rows) - 1)
        if again:
            return _Together(None, tuple(batches), shared)
        place = self._place(beginning[None])
        return _Together((beginning, place), tuple(batches), shared)

    def _place(self, ids: Int[Tensor, "height width"]) -> int:
        self._shapes.append((*ids.shape, self._decoder.hidden_size))
        return len(self._shapes) - 1

    def _step(
        self, runs: BlockRuns, shelf: Shelf, groups: Sequence[_Together], step: int
    ) -> Iterator[None]:
        """Runs all batches through one block; yields behind each."""
        for group in groups:
            batches = [one for one in group.batches if one.steps > step]
            if not batches:
                continue
            prefix = self._prefix(runs, shelf, group)
            for one in batches:
                cache = None if prefix is None else prefix.broadcast(len(one.ids))
                with _room():
                    found = runs.run(one.ids, shelf.get(one.place), cache)
                for layer, states in found.items():
                    self._give(one, layer, states)
                    behind = states
                if one.steps > step + 1:
                    shelf.put(one.place, behind)
                else:
                    self.token_forwards += one.tokens
                yield

    def _prefix(self, runs: BlockRuns, shelf: Shelf, group: _Together) -> Prefix | None:
        if group.beginning is None:
            return None
        ids, place = group.beginning
        with _room():
            after, prefix = runs.prefix(ids, shelf.get(place))
        if after is not None:
            shelf.put(place, after)
        return prefix

    def _give(self, batch: _Batch, layer: Layer, states: Tensor) -> None:
        """Gives the rows of a layer to the sink, where some of them are missing."""
        prompts = list(batch.prompts)
        if layer not in self.done or self.done[layer][prompts].all():
            return
        rows = states[torch.arange(len(states)), batch.last.to(states.device)]
        self._sink.take(prompts, {layer: rows[: len(prompts)].cpu()})
        self.done[layer][prompts] = True


@contextmanager
def _room() -> Iterator[None]:
    """Says apart from other errors that memory ran out."""
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise _NoRoom from error
        raise
