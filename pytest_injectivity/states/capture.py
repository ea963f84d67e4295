"""Computes the last-token states of a prompt set, all layers in one pass (SPEC section 1).

Memory is bounded by the batch: the decoder keeps one row for each prompt and layer, and a sink takes the
rows as soon as their batch is done. Prompts that share a long beginning share its computation: the
beginning runs once, and the rests continue its cached keys and values.

The whole set decides which prompts share a batch, whatever part of it was captured before. Batches that
are complete are skipped and all others run unchanged, so that a capture that was interrupted and resumed
gives the same bits as one that was not.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from pytest_injectivity.core.layers import Layer, depth
from pytest_injectivity.core.shapes import Bool
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.prefix import Prefix
from pytest_injectivity.states.batches import Batch, plan_batches
from pytest_injectivity.states.by_block import ByBlock
from pytest_injectivity.states.memory import is_out_of_memory, too_long
from pytest_injectivity.states.shared_prefixes import LEAST_SAVING, Group, group_by_prefix
from pytest_injectivity.states.sinks import Announce, CapturedStates, InMemory, Progress, Sink

BATCH_TOKENS = 4096
"""Default number of tokens of one forward pass: enough to keep two cores busy."""


def capture(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    layers: Sequence[Layer],
    *,
    batch_tokens: int = BATCH_TOKENS,
    share_prefixes: bool = True,
    least_saving: int = LEAST_SAVING,
    progress: Progress | None = None,
    announce: Announce | None = None,
    sink: Sink | None = None,
    done: Mapping[Layer, Bool[np.ndarray, " prompts"]] | None = None,
    budget: int | None = None,
) -> CapturedStates:
    """Runs every prompt once and keeps its last-token state at each layer.

    A batch that does not fit in memory is halved, and so are the ones after it. Where the blocks'
    weights are on disk, all batches run through a block before the next one is read (`by_block`).

    Args:
        decoder: the model.
        prompts: token ids, at least one each, within the model's context.
        layers: which layers.
        batch_tokens: tokens of one forward pass, padding included.
        share_prefixes: compute a beginning that several prompts have in common once.
        least_saving: tokens that sharing a beginning must save.
        progress: told how many prompts are done.
        announce: told when memory ran out and the batch was halved.
        sink: takes the rows; by default they are kept in memory and returned.
        done: by layer, which prompts' rows were captured before; none of layers that it does not name.
        budget: bytes of states between two blocks that are held in memory, where blocks are on disk.
    """
    memory = InMemory(len(prompts))
    none = np.zeros(len(prompts), dtype=bool)
    there = {layer: (done or {}).get(layer, none) for layer in layers}
    groups = (
        group_by_prefix(prompts, least_saving=least_saving)
        if share_prefixes
        else (Group.all_of(prompts),)
    )
    if decoder.streamed is not None:
        ran = ByBlock(decoder, prompts, groups, there, sink or memory, budget=budget)
        ran.run(batch_tokens, progress=progress, announce=announce)
        return CapturedStates(memory.rows, ran.token_forwards, ran.shared_tokens)
    run = Capture(
        decoder,
        prompts,
        done=there,
        batch_tokens=batch_tokens,
        announce=announce,
        sink=sink or memory,
    )
    finished = 0
    for group in groups:
        for more in run.group(group):
            finished += more
            if progress is not None:
                progress(finished, len(prompts))
    return CapturedStates(memory.rows, run.token_forwards, run.shared_tokens)


class Capture:
    """The state of a running capture: what was counted, and the batch size that memory has allowed.

    Args: as of `capture`, with all layers in ``done``.
    """

    def __init__(
        self,
        decoder: Decoder,
        prompts: Sequence[Sequence[int]],
        *,
        done: Mapping[Layer, Bool[np.ndarray, " prompts"]],
        batch_tokens: int,
        announce: Announce | None,
        sink: Sink,
    ) -> None:
        self.decoder = decoder
        self.prompts = prompts
        self.done = done
        self.batch_tokens = batch_tokens
        self.announce = announce
        self.sink = sink
        self.token_forwards = 0
        self.shared_tokens = 0
        # Memory ran out: batches that were planned before are halved.
        self._short = False

    def group(self, group: Group, batches: Sequence[Batch] | None = None) -> Iterator[int]:
        """Captures the prompts of a group; yields how many each batch finished.

        Args:
            group: the prompts.
            batches: of them, by their place in the group; None: they are planned here.
        """
        prefix = None
        layers = self._missing(group.rows)
        if not layers:
            yield len(group.rows)
            return
        if group.shared:
            prefix = self._prefix(group.shared, max(layers, key=depth))
            self.shared_tokens += len(group.shared) * (len(group.rows) - 1)
            self.token_forwards += len(group.shared)
        shared = len(group.shared)
        rests = [self.prompts[row][shared:] for row in group.rows]
        if batches is None:
            batches = batches_of(group, self.prompts, self.batch_tokens, self.decoder.context)
        pending = list(batches)[::-1]
        while pending:
            batch = pending.pop()
            rows = [group.rows[at] for at in batch.rows]
            layers = self._missing(rows)
            if not layers:
                yield len(rows)
                continue
            too_many = self._tokens(batch, shared) > self.batch_tokens
            if self._short and too_many and len(batch.rows) > 1:
                pending += batch.halves()
                continue
            try:
                kept = self.decoder.states(
                    batch.ids(rests),
                    layers,
                    positions=batch.last_positions(rests),
                    prefix=prefix,
                )
            except RuntimeError as error:
                self._make_room(batch, shared, error)
                pending.append(batch)
                continue
            self.token_forwards += batch.height * batch.width
            self.sink.take(rows, {layer: kept[layer][: len(rows)].cpu() for layer in layers})
            yield len(rows)

    def _missing(self, rows: Sequence[int]) -> tuple[Layer, ...]:
        """The layers at which one of these prompts is not done."""
        index = list(rows)
        return tuple(layer for layer, done in self.done.items() if not done[index].all())

    def _prefix(self, shared: Sequence[int], deepest: Layer) -> Prefix:
        try:
            return self.decoder.prefix(torch.tensor(shared), deepest)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise too_long(self.decoder.source, self.decoder.device, len(shared)) from error

    def _make_room(self, batch: Batch, shared: int, error: RuntimeError) -> None:
        """Halve the batch from here on; anything but a lack of memory is raised again."""
        if not is_out_of_memory(error):
            raise error
        if len(batch.rows) == 1:
            raise too_long(
                self.decoder.source, self.decoder.device, shared + batch.width
            ) from error
        torch.cuda.empty_cache()
        self._short = True
        self.batch_tokens = self._tokens(batch, shared) // 2
        if self.announce is not None:
            self.announce(
                f"out of memory at {len(batch.rows)} x {batch.width} tokens:"
                f" going on with {self.batch_tokens} tokens a pass"
            )

    @staticmethod
    def _tokens(batch: Batch, shared: int) -> int:
        return len(batch.rows) * (shared + batch.width)


def batches_of(
    group: Group, prompts: Sequence[Sequence[int]], batch_tokens: int, context: int | None
) -> tuple[Batch, ...]:
    """The batches of a group, which name its prompts by their place in it."""
    shared = len(group.shared)
    lengths = [len(prompts[row]) - shared for row in group.rows]
    return plan_batches(lengths, batch_tokens=batch_tokens, context=context, prefix=shared)
