"""Runs token ids, or embeddings, forward to the hidden states of the layers asked for, in one pass.

The states are read by hooks on the blocks, inside which the one position kept of each row is
copied: a batch of 64 rows of 512 tokens leaves 64 rows behind, not 64 x 512 x (L + 1). The deepest
hook raises, so that deeper blocks are not run, and the language-model head is never reached
(:meth:`Forward.last_logits` apart).

Layers are those of SPEC section 1: 0 is the input of the first block, ``1..L`` the raw output of a
block, ``"norm"`` what the base model returns as its last hidden state.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import cached_property
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float, Int
from pytest_injectivity.models.accepted import Accepted
from pytest_injectivity.models.families import (
    Family,
    Parts,
    context_length,
    find_family,
    find_parts,
    takes_masks,
)
from pytest_injectivity.models.float64 import Float64Mode
from pytest_injectivity.models.prefix import Prefix, cache_name
from pytest_injectivity.models.recorder import DeepestReached, Recorder
from pytest_injectivity.models.repeated_rows import (
    cut_cache,
    repeat_cache,
    repeat_inputs,
    repeat_rows,
    times_repeated,
)
from pytest_injectivity.models.replacing import replaced
from pytest_injectivity.models.streamed_blocks import StreamedBlocks
from pytest_injectivity.models.towers import leave_out_towers
from pytest_injectivity.quantization.activation_hooks import Rounding
from pytest_injectivity.quantization.info import QuantizationInfo


class Forward:
    """A causal language model whose hidden states can be read at any layer.

    Args:
        source: what the user named (a folder, a hub id, a builtin); shown in messages.
        model: a transformers causal language model; put into eval mode, its parameters without
            gradients. It belongs to the decoder from here on.
        tokenizer: the checkpoint's tokenizer, or ``None``.
        revision: the hub's commit the checkpoint was resolved to, or ``None``.
        float64: the model is a float64 copy and runs in true float64 throughout (SPEC section 2).
        quantized: what is quantized of it; ``None`` for full precision.
        rounding: of every block's output, as it runs; ``None``: nothing is rounded.
        left_out: parts of the checkpoint that were not loaded, by name.
        streamed: its blocks, where their weights are read from disk as they run.

    Attributes:
        source, model, tokenizer, revision, float64, quantized, rounding, streamed: as given.
        family: the model's entry in the table of families.
        parts: its modules, found through the family.
        n_layers: the number of blocks ``L``.
        hidden_size: the width of the residual stream.
        vocab_size: rows of the input embedding; ids must be below it (a tokenizer may have more).
        context: the longest prompt accepted, in tokens; ``None`` where there is no limit.
        accepted: refuses tokens, lengths and layers that it does not have.
        layers: ``(1, ..., L, "norm")``.
        masks: its attention takes a mask of the caller's.
        left_out: parts that token ids never reach, by name: not loaded, or taken off the model.

    Raises:
        ModelError: the family is not in the table and the rule cannot find its blocks.
    """

    def __init__(
        self,
        source: str,
        model: PreTrainedModel,
        tokenizer: Any = None,
        *,
        revision: str | None = None,
        float64: bool = False,
        quantized: QuantizationInfo | None = None,
        rounding: Rounding | None = None,
        left_out: tuple[str, ...] = (),
        streamed: StreamedBlocks | None = None,
    ) -> None:
        self.source = source
        self.revision = revision
        self.model: PreTrainedModel = model.train(mode=False).requires_grad_(requires_grad=False)
        self.tokenizer = tokenizer
        self.quantized = quantized
        self.rounding = rounding
        self.streamed = streamed
        self.family: Family = find_family(model)
        self.parts: Parts = find_parts(model, self.family)
        self.left_out = leave_out_towers(model, self.family.base) or left_out
        self.n_layers = len(self.parts.blocks)
        self.hidden_size: int = model.config.get_text_config().hidden_size
        self.vocab_size: int = _weight(self.parts.embeddings).shape[0]
        self.context = context_length(model)
        self.accepted = Accepted(source, self.n_layers, self.vocab_size, self.context)
        self.layers: tuple[Layer, ...] = (*range(1, self.n_layers + 1), "norm")
        self.masks = takes_masks(self.family, model)
        self.float64 = float64
        _quieten(self.parts.base.config, alone=self.parts.base.config is model.config)

    def __repr__(self) -> str:
        shape = f"layers={self.n_layers}, hidden={self.hidden_size}, vocab={self.vocab_size}"
        return f"{type(self).__name__}({self.source!r}, {self.family.name}, {shape}, {self.dtype})"

    @property
    def device(self) -> torch.device:
        """Where tokens go in and states come back."""
        return _weight(self.parts.embeddings).device

    @cached_property
    def shared(self) -> bool:
        """Whether several devices share the blocks."""
        devices = {one.device for one in self.parts.blocks.parameters() if not one.is_meta}
        return bool(devices - {self.device})

    @cached_property
    def dtype(self) -> torch.dtype:
        """The dtype of the states after a block, read from one (a parameter may be packed)."""
        return self.states(torch.zeros(1, 1, dtype=torch.long), [1])[1].dtype

    def states(
        self,
        ids: Int[Tensor, "batch length"],
        layers: Sequence[Layer],
        *,
        positions: Int[Tensor, " batch"] | None = None,
        prefix: Prefix | None = None,
    ) -> dict[Layer, Tensor]:
        """Hidden states of the layers asked for, in one pass that stops after the deepest.

        Args:
            ids: token ids; rows shorter than the batch are padded on the RIGHT with any valid id
                (with causal attention no real token sees it).
            layers: integers 0 to L and ``"norm"``.
            positions: the one position kept of each row, as an index into ``ids``.
            prefix: cached tokens that every row continues.

        Returns:
            By layer, a copy: ``(batch, hidden)``, or ``(batch, length, hidden)`` without
            ``positions``; on the decoder's device, in the dtype the model computed.

        Raises:
            LayerError: the model, or the prefix, does not reach a layer.
            PromptError: an id is not below ``vocab_size``, or a row exceeds the context.
        """
        ids = self._checked(ids)
        with torch.no_grad():
            return self._run(ids, layers, positions, prefix)

    def states_from_embeddings(
        self,
        embeddings: Float[Tensor, "batch length hidden"],
        layers: Sequence[Layer],
        *,
        prefix: Prefix | None = None,
    ) -> dict[Layer, Tensor]:
        """As :meth:`states` at every position, from continuous input embeddings.

        Args:
            embeddings: rows as :meth:`embedding_matrix` gives them (scaled where the family scales
                them); where they require a gradient, so do the states.
            layers: as for :meth:`states`.
            prefix: as for :meth:`states`.

        Raises:
            LayerError: the model, or the prefix, does not reach a layer.
            PromptError: the rows exceed the context.
        """
        return self._run(embeddings.to(self.device), layers, None, prefix)

    @property
    def takes_positions(self) -> bool:
        """Whether the model takes the positions of its tokens."""
        return "position_ids" in signature(self.parts.base.forward).parameters

    def states_at(
        self,
        ids: Int[Tensor, "batch length"],
        positions: Int[Tensor, "batch length"],
        layers: Sequence[Layer],
    ) -> dict[Layer, Float[Tensor, "batch length hidden"]]:
        """As :meth:`states` at every position, with the tokens at other positions than 0, 1, ….

        Args:
            ids: token ids.
            positions: of each token; below the context.
            layers: as for :meth:`states`.

        Raises:
            LayerError: the model does not reach a layer.
            PromptError: an id is not below ``vocab_size``, or a position is not below the context.
        """
        self.accepted.layers(layers)
        self.accepted.length(int(positions.max()) + 1)
        ids = self._checked(ids)
        with torch.no_grad():
            return self._forward(
                ids, layers, torch.clone, None, position_ids=positions.to(self.device)
            )

    def one_block(
        self,
        ids: Int[Tensor, "batch length"],
        layers: Sequence[Layer],
        begun: tuple[Layer, Float[Tensor, "batch length hidden"]] | None,
        cache: Any,
        **named: Any,
    ) -> dict[Layer, Float[Tensor, "batch length hidden"]]:
        """As :meth:`states` at every position, in a pass that goes on from a layer's states.

        Args:
            ids: token ids.
            layers: those behind the states that are given.
            begun: a layer and its states; None: the pass begins with the embeddings.
            cache: the library's cache of the tokens before; None: there are none.
            named: further inputs of the library's pass.

        Raises:
            PromptError: an id is not below ``vocab_size``, or a row exceeds the context.
        """
        self.accepted.length(ids.shape[1])
        with torch.no_grad():
            ids = self._checked(ids)
            return self._forward(ids, layers, torch.clone, cache, begun=begun, **named)

    def next_token_logits(self, prefix_ids: Int[Tensor, " length"]) -> Float[Tensor, " vocab"]:
        """The model's own ranking of the token after a prefix."""
        return self.last_logits(prefix_ids[None], torch.tensor([len(prefix_ids) - 1]))[0]

    def last_logits(
        self, ids: Int[Tensor, "rows width"], last: Int[Tensor, " rows"]
    ) -> Float[Tensor, "rows vocab"]:
        """The model's own ranking of the token after each row; no other pass here computes logits.

        Args:
            ids: padded on the right.
            last: the index of each row's last token.

        Raises:
            PromptError: an id is not below ``vocab_size``, or the rows exceed the context.
        """
        ids = self._checked(ids)
        self.accepted.length(ids.shape[1])
        kept, at = torch.unique(last, return_inverse=True)
        with torch.no_grad(), self.running():
            logits: Tensor = self.model(
                input_ids=ids, use_cache=False, logits_to_keep=kept.to(self.device)
            ).logits
        # Some families give the logits of every position, whatever they are asked for.
        chosen = at if logits.shape[1] == len(kept) else last
        return logits[torch.arange(len(ids)), chosen]

    def embedding_matrix(self) -> Float[Tensor, "vocab hidden"]:
        """The input embedding of every token, as :meth:`states_from_embeddings` takes it."""
        with torch.no_grad(), self.running():
            rows: Tensor = self.parts.embeddings(torch.arange(self.vocab_size, device=self.device))
        return rows

    @contextmanager
    def running(self) -> Iterator[None]:
        """Surrounds every pass: true float64 and rounded blocks, where the decoder has them."""
        rounded = self.rounding.hooks(self.parts.blocks) if self.rounding else nullcontext()
        with Float64Mode() if self.float64 else nullcontext(), rounded:
            yield

    def _run(
        self,
        inputs: Tensor,
        layers: Sequence[Layer],
        positions: Tensor | None,
        prefix: Prefix | None,
    ) -> dict[Layer, Tensor]:
        self.accepted.layers(layers, prefix)
        before = 0 if prefix is None else len(prefix)
        self.accepted.length(before + inputs.shape[1])
        cache = None if prefix is None else prefix.broadcast(len(inputs))
        if prefix is not None and cache is None:
            inputs = self._with_prefix(prefix, inputs)
        skipped = before if cache is None else 0
        return self._forward(inputs, layers, _keep(positions, skipped, self.device), cache)

    def _forward(
        self,
        inputs: Tensor,
        layers: Sequence[Layer],
        keep: Callable[[Tensor], Tensor],
        cache: Any,
        *,
        begun: tuple[Layer, Tensor] | None = None,
        **named: Any,
    ) -> dict[Layer, Tensor]:
        """Runs the base model on ids or embeddings, keeping `keep(states)` of each layer.

        A pass that was begun goes on from a layer's states.
        """
        rows, width = inputs.shape[:2]
        named["inputs_embeds" if inputs.is_floating_point() else "input_ids"] = inputs
        if (times := times_repeated(rows, width, cache)) > 1:
            repeat_cache(cache, times)
            named = repeat_inputs(named, times)
            begun = begun and (begun[0], repeat_rows(begun[1], times))
        if cache is not None:
            named[str(cache_name(self.parts.base))] = cache
        # Where several devices share the blocks, states come back to the first.
        recorder = Recorder(layers, lambda states: keep(states[:rows].to(self.device)))
        going_on = replaced(self.parts, *begun) if begun else nullcontext()
        # Rounded first: what is kept of a block is what the next one gets.
        with (
            self.running(),
            going_on,
            recorder.listening(self.parts.blocks),
            suppress(DeepestReached),
        ):
            output = self.parts.base(**named, use_cache=cache is not None)
            recorder.record("norm", output.last_hidden_state)
        if times > 1:
            cut_cache(cache, rows)
        return {layer: recorder.kept[layer] for layer in layers}

    def _with_prefix(self, prefix: Prefix, inputs: Tensor) -> Tensor:
        ids = prefix.ids.expand(len(inputs), -1)
        start = self.parts.embeddings(ids) if inputs.is_floating_point() else ids
        return torch.cat([start, inputs], dim=1)

    def _checked(self, ids: Tensor) -> Tensor:
        """The ids, checked and on the model's device."""
        return self.accepted.ids(ids).to(self.device)


def _keep(
    positions: Tensor | None, skipped: int, device: torch.device
) -> Callable[[Tensor], Tensor]:
    """Makes the function that copies states: one position a row, or all but a repeated prefix."""
    if positions is None:
        return lambda states: states[:, skipped:].clone()
    rows, columns = torch.arange(len(positions), device=device), positions.to(device) + skipped
    return lambda states: states[rows, columns]


def _weight(embeddings: Any) -> Tensor:
    weight: Tensor = embeddings.weight
    return weight


def _quieten(config: Any, *, alone: bool) -> None:
    """Overrides settings that would make the library collect, or warn of, more than is asked."""
    config.output_hidden_states = config.output_attentions = False
    config.return_dict = True
    # Without it GPT-2 warns of padding that no mask hides; padding here is on the right, unseen. Some
    # configurations take integers only, so the value is set past their check. A larger model puts its
    # decoder's token of padding where an image stood.
    if alone:
        vars(config)["pad_token_id"] = None
