"""The last-token states of a prompt set, all layers asked for in one pass (SPEC section 1).

Memory is bounded by the batch: the decoder keeps one row of each prompt and layer, moved here as soon
as its batch is done. Prompts that share a long beginning share its computation: the beginning runs
once and the rests continue its cached keys and values.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pytest_injectivity.errors import ModelError
from pytest_injectivity.layers import Layer, depth
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.prefix import Prefix
from pytest_injectivity.states.batches import Batch, plan_batches
from pytest_injectivity.states.sharing import Group, group_by_prefix

BATCH_TOKENS = 4096
"""Tokens of one forward pass unless told otherwise: large enough to fill two cores' products."""

Progress = Callable[[int, int], None]
"""Called with the number of prompts done and the number in all."""

Announce = Callable[[str], None]
"""Called with one sentence a person should see."""


@dataclass(frozen=True)
class CapturedStates:
    """The last-token states ``H_l`` of a prompt set.

    Attributes:
        rows: by layer ``(prompts, hidden)``, on the CPU, in the dtype the model computed; row i is
            prompt i.
        token_forwards: tokens that went through the model, padding included.
        shared_tokens: tokens that did not, because their prefix was shared.
    """

    rows: Mapping[Layer, Float[Tensor, "prompts hidden"]]
    token_forwards: int
    shared_tokens: int

    def not_finite(self, layer: Layer) -> Int64[np.ndarray, " some"]:
        """The prompts whose row has a NaN or an infinity at a layer."""
        return np.flatnonzero(~self.rows[layer].isfinite().all(dim=1).numpy())


def capture(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    layers: Sequence[Layer],
    *,
    batch_tokens: int = BATCH_TOKENS,
    share_prefixes: bool = True,
    progress: Progress | None = None,
    announce: Announce | None = None,
) -> CapturedStates:
    """Run every prompt once and keep its last-token row at each layer.

    A batch that does not fit in memory is halved, and so are the ones after it.

    Args:
        decoder: the model.
        prompts: token ids, at least one each, within the model's context.
        layers: which layers.
        batch_tokens: tokens of one forward pass, padding included.
        share_prefixes: compute a beginning that several prompts have in common once.
        progress: told how many prompts are done.
        announce: told when memory ran out and the batch was halved.
    """
    run = _Capture(decoder, prompts, tuple(layers), batch_tokens, announce)
    groups = group_by_prefix(prompts) if share_prefixes else (Group.all_of(prompts),)
    done = 0
    for group in groups:
        for finished in run.group(group):
            done += finished
            if progress is not None:
                progress(done, len(prompts))
    return CapturedStates(run.rows, run.token_forwards, run.shared_tokens)


class _Capture:
    """The rows filled so far, and the batch size that memory has allowed."""

    def __init__(
        self,
        decoder: Decoder,
        prompts: Sequence[Sequence[int]],
        layers: tuple[Layer, ...],
        batch_tokens: int,
        announce: Announce | None,
    ) -> None:
        self.decoder = decoder
        self.prompts = prompts
        self.layers = layers
        self.batch_tokens = batch_tokens
        self.announce = announce
        self.rows: dict[Layer, Tensor] = {}
        self.token_forwards = 0
        self.shared_tokens = 0

    def group(self, group: Group) -> Iterator[int]:
        """Capture the prompts of a group, yielding how many each batch finished."""
        prefix = None
        if group.shared:
            prefix = self._prefix(group.shared)
            self.shared_tokens += len(group.shared) * (len(group.rows) - 1)
            self.token_forwards += len(group.shared)
        shared = len(group.shared)
        rests = [self.prompts[row][shared:] for row in group.rows]
        pending = list(
            plan_batches(
                [len(rest) for rest in rests],
                batch_tokens=self.batch_tokens,
                context=self.decoder.context,
                prefix=shared,
            )
        )[::-1]
        while pending:
            batch = pending.pop()
            if len(batch.rows) > 1 and self._tokens(batch, shared) > self.batch_tokens:
                pending += batch.halves()
                continue
            try:
                kept = self.decoder.states(
                    batch.ids(rests),
                    self.layers,
                    positions=batch.last_positions(rests),
                    prefix=prefix,
                )
            except RuntimeError as error:
                self._make_room(batch, shared, error)
                pending.append(batch)
                continue
            self.token_forwards += batch.height * batch.width
            self._store([group.rows[at] for at in batch.rows], kept)
            yield len(batch.rows)

    def _prefix(self, shared: Sequence[int]) -> Prefix:
        try:
            return self.decoder.prefix(torch.tensor(shared), max(self.layers, key=depth))
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            raise self._too_long(len(shared)) from error

    def _make_room(self, batch: Batch, shared: int, error: RuntimeError) -> None:
        """Halve the batch from here on; anything but a lack of memory is raised again."""
        if not _out_of_memory(error):
            raise error
        if len(batch.rows) == 1:
            raise self._too_long(shared + batch.width) from error
        torch.cuda.empty_cache()
        self.batch_tokens = self._tokens(batch, shared) // 2
        if self.announce is not None:
            self.announce(
                f"out of memory at {len(batch.rows)} x {batch.width} tokens:"
                f" going on with {self.batch_tokens} tokens a pass"
            )

    def _too_long(self, tokens: int) -> ModelError:
        return ModelError(
            f"{self.decoder.source}: memory on {self.decoder.device} does not hold a single prompt"
            f" of {tokens} tokens; shorter prompts (--injx-length) or another device"
            " (--injx-device) are needed"
        )

    @staticmethod
    def _tokens(batch: Batch, shared: int) -> int:
        return len(batch.rows) * (shared + batch.width)

    def _store(self, rows: list[int], kept: dict[Layer, Tensor]) -> None:
        index = torch.tensor(rows)
        for layer, states in kept.items():
            if layer not in self.rows:
                self.rows[layer] = torch.empty(
                    len(self.prompts), states.shape[1], dtype=states.dtype
                )
            self.rows[layer][index] = states[: len(rows)].cpu()


def _out_of_memory(error: RuntimeError) -> bool:
    """CUDA has its own class; other allocators (Linux, Windows, mps) only say so in words."""
    words = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, torch.OutOfMemoryError) or any(said in str(error) for said in words)
