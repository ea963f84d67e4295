"""A causal language model seen as a function from token ids to the hidden states of its layers.

Beside whole prompts (:class:`Forward`) it continues cached prefixes: one prefix by many candidates,
which is the one-step map, and many prefixes by what is guessed of each.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from pytest_injectivity.core.layers import Layer, depth
from pytest_injectivity.core.shapes import Float, Int
from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.candidate_passes import (
    CandidateLimits,
    CandidatePass,
    candidates_by_block,
)
from pytest_injectivity.models.float64 import float64_copy
from pytest_injectivity.models.forward import Forward
from pytest_injectivity.models.prefix import Prefix, empty_cache
from pytest_injectivity.models.prefix_buffer import Continued, PrefixBuffer, seen
from pytest_injectivity.quantization.activation_hooks import Rounding


class Decoder(Forward):
    """A causal language model whose hidden states can be read at any layer, and continued.

    The arguments and the other attributes are those of `Forward`.

    Attributes:
        limits: what `candidates` holds at once.

    Example:
        >>> import torch
        >>> from pytest_injectivity import load_decoder
        >>> decoder = load_decoder("builtin:gpt2-stdlib", device="cpu")
        >>> decoder.layers
        (1, 2, 3, 4, 'norm')
        >>> decoder.states(torch.tensor([[1, 2, 3]]), [2])[2].shape
        torch.Size([1, 3, 128])
        >>> after = decoder.prefix(torch.tensor([1, 2]), depth=2)
        >>> decoder.candidates(after, torch.tensor([3, 4]), [2])[2].shape
        torch.Size([2, 128])
    """

    limits = CandidateLimits()

    def prefix(self, ids: Int[Tensor, " length"], depth: Layer) -> Prefix:
        """Runs tokens once and keeps what the blocks cache of them.

        Args:
            ids: the tokens; there may be none.
            depth: the deepest layer that a continuation may be asked for.

        Raises:
            LayerError: the model does not reach the layer.
            PromptError: an id is not below ``vocab_size``, or the tokens exceed the context.
        """
        self.accepted.layers([depth])
        recomputed = self.family.prefix == "recompute"
        none = torch.empty(0, dtype=torch.long, device=self.device)
        cache = None if recomputed else empty_cache(self.parts.base.config)
        return self.extend(Prefix(none, depth, cache), ids)

    def extend(self, prefix: Prefix, ids: Int[Tensor, " more"]) -> Prefix:
        """Continues a prefix by more tokens; the one given stays as it is.

        Returns:
            A longer prefix of the same depth.

        Raises:
            PromptError: an id is not below ``vocab_size``, or the tokens exceed the context.
        """
        if not len(ids):
            return prefix
        ids, cache = self._checked(ids[None]), prefix.broadcast(1)
        longer = torch.cat([prefix.ids, ids[0]])
        self.accepted.length(len(longer))
        if cache is not None:
            # Layer 0 needs to know its position, which the library reads off the first block.
            deepest = prefix.depth if prefix.depth != 0 else 1
            with torch.no_grad():
                self._forward(ids, [deepest], lambda states: states[:, :0], cache)
        return Prefix(longer, prefix.depth, cache)

    def states_in_parts(
        self, ids: Int[Tensor, "rows length"], cuts: Sequence[int], layers: Sequence[Layer]
    ) -> dict[Layer, Float[Tensor, "rows rest hidden"]]:
        """Hidden states of rows that are run part by part, each part behind the cached ones before it.

        Args:
            ids: token ids; rows shorter than the batch are padded on the RIGHT with any valid id.
            cuts: where the parts after the first begin, rising, at least one.
            layers: as for :meth:`states`.

        Returns:
            By layer, the states from the first cut on.

        Raises:
            LayerError: the model does not reach a layer.
            PromptError: an id is not below ``vocab_size``, or a row exceeds the context.
        """
        self.accepted.layers(layers)
        self.accepted.length(ids.shape[1])
        ids = self._checked(ids)
        parts = list(zip(cuts, (*cuts[1:], ids.shape[1]), strict=True))
        if self.family.prefix == "recompute":
            runs = [(start, self.states(ids[:, :end], layers)) for start, end in parts]
            found = [{of: states[:, start:] for of, states in run.items()} for start, run in runs]
        else:
            cache = empty_cache(self.parts.base.config)
            # The blocks cache nothing where layer 0 alone is asked for.
            wanted = [*layers] if max(layers, key=depth) else [*layers, 1]
            self._run_part(ids[:, : cuts[0]], wanted, cache)
            found = [self._run_part(ids[:, start:end], wanted, cache) for start, end in parts]
        return {layer: torch.cat([states[layer] for states in found], dim=1) for layer in layers}

    def candidates(
        self,
        prefix: Prefix | None,
        tokens: Int[Tensor, " candidates"],
        layers: Sequence[Layer],
        *,
        side_by_side: bool = True,
    ) -> dict[Layer, Float[Tensor, "candidates hidden"]]:
        """The one-step map ``F(v; prefix)`` for many tokens ``v`` (SPEC section 4).

        Row ``i`` is the state of ``tokens[i]`` put after the prefix (``None``: at the first
        position). Runs in batches that bound the memory, whatever the number of candidates. Where
        the attention takes masks, candidates stand side by side behind one copy of the prefix, each
        seeing the prefix and itself: equal to a row each up to the resolution.

        Args:
            prefix: the tokens before.
            tokens: the candidates.
            layers: as for :meth:`states`.
            side_by_side: False: a row for each candidate.

        Raises:
            LayerError: the model, or the prefix, does not reach a layer.
            PromptError: a token is not below ``vocab_size``, or the prefix fills the context.
        """
        together = prefix is not None and len(prefix) and len(tokens) > 1 and self.masks
        if prefix is not None and together and side_by_side:
            step = self.limits.side_by_side * self.limits.side_rows
            found = self._side_by_side(prefix, torch.split(tokens, step), layers)
        else:
            parts = torch.split(tokens, self.candidate_batch(prefix))
            found = self._in_rows(prefix, parts, layers)
        return {layer: torch.cat([states[layer] for states in found]) for layer in layers}

    def cached_candidates(
        self, prefix: Prefix, tokens: Int[Tensor, " candidates"]
    ) -> list[tuple[Tensor, Tensor]]:
        """Computes what each block caches of many tokens, each put after the prefix.

        Runs in batches that bound the memory, a row for each candidate.

        Args:
            prefix: the tokens before; it may hold no token.
            tokens: the candidates.

        Returns:
            For each block up to the prefix's depth its keys and its values, each
            ``(candidates, heads, 1, width)``; empty for families that cache none.

        Raises:
            PromptError: a token is not below ``vocab_size``, or the prefix fills the context.
        """
        self.accepted.length(len(prefix) + 1)
        found: list[list[tuple[Tensor, Tensor]]] = []
        for some in torch.split(self._checked(tokens), self.candidate_batch(prefix)):
            cache = prefix.broadcast(len(some))
            if cache is None:
                return []
            with torch.no_grad():
                self._forward(some[:, None], [prefix.depth], lambda states: states[:, :0], cache)
            layers: list[Any] = cache.layers
            found.append(
                [
                    (one.keys[:, :, -1:].clone(), one.values[:, :, -1:].clone())
                    for one in layers
                    if one.is_initialized
                ]
            )
        return [
            (torch.cat([keys for keys, _ in sides]), torch.cat([values for _, values in sides]))
            for sides in zip(*found, strict=True)
        ]

    def prefix_buffer(self, prompts: int, room: int, depth: Layer) -> PrefixBuffer:
        """Makes a buffer of empty prefixes, one a prompt.

        Args:
            prompts: how many prefixes.
            room: the most tokens that each can hold.
            depth: the deepest layer that a continuation may be asked for.
        """
        self.accepted.layers([depth])
        return PrefixBuffer(depth, room, [()] * prompts)

    def alone(self, prefixes: PrefixBuffer, row: int, length: int) -> Prefix:
        """The first tokens of one row of a buffer as a prefix; good until the buffer keeps more."""
        # Layer 0 caches nothing its position could be read off.
        if self.masks and prefixes.depth != 0:
            return prefixes.alone(row, length, self.parts.base.config, self.device)
        ids = torch.tensor(prefixes.ids[row][:length], dtype=torch.long)
        return self.prefix(ids, prefixes.depth)

    def continued(
        self,
        prefixes: PrefixBuffer,
        rows: Sequence[int],
        ids: Int[Tensor, "rows width"],
        *,
        side_by_side: bool = False,
        layers: Sequence[Layer] = (),
    ) -> Continued:
        """Continues many prefixes, each of its own length, in one pass to their depth.

        Args:
            prefixes: stay as they are (:meth:`PrefixBuffer.keep` adds to them).
            rows: which of them.
            ids: what each is continued by, padded on the right with any valid id.
            side_by_side: the ids of a row are alternatives for the position after its prefix, not
                one after the other; only where the attention takes ``masks``.
            layers: those at which states are given, beside the depth of the buffer.

        Raises:
            LayerError: the buffer does not reach a layer.
            PromptError: an id is not below ``vocab_size``.
        """
        ids, lengths = self._checked(ids), prefixes.lengths(rows).to(self.device)
        wanted = [*{*layers, prefixes.depth}]
        self.accepted.layers(wanted, prefixes)
        if not self.masks:
            return self._run_again(prefixes, rows, ids, wanted)
        cache, width = prefixes.cache(rows, self.parts.base.config), ids.shape[1]
        steps = torch.arange(width, device=self.device) * (not side_by_side)
        # What pads a row may stand anywhere, but not outside the table of positions.
        places = (lengths[:, None] + steps).clamp(max=(self.context or 2**62) - 1)
        named: dict[str, Any] = {"position_ids": places}
        if side_by_side or bool(lengths.any()):
            cached = bool(prefixes.blocks)
            named["attention_mask"] = seen(lengths, width, side_by_side=side_by_side, cached=cached)
        with torch.no_grad():
            states = self._forward(ids, wanted, torch.clone, cache, **named)
        blocks: list[Any] = cache.layers
        fresh = tuple(
            (one.keys[:, :, -width:], one.values[:, :, -width:])
            for one in blocks
            if one.is_initialized
        )
        return Continued(tuple(rows), ids, prefixes.depth, states, fresh)

    def as_float64(self) -> "Decoder":
        """A copy with the same weights that computes in float64 throughout (SPEC section 2).

        Quantized weights become the dense ones they stand for.

        Raises:
            ModelError: its blocks stay on disk; or the model rounds activations as it runs: a copy that
                does not is another function, and one that does is as coarse.
        """
        known, how = self.quantized, ""
        if known is not None and known.rounds_activations:
            how = known.kind
        if self.rounding is not None:
            how = f"activations on {self.rounding.grid.words}"
        if self.streamed is not None:
            raise ModelError(
                f"{self.source}: a float64 copy holds all weights in memory, and its blocks stay on disk"
                " (--injx-load=stream): --injx-load=whole is accepted"
            )
        if how:
            raise ModelError(
                f"{self.source} ({how}) rounds activations as it runs: no float64 copy"
                " computes the same states; float64 is for models whose weights alone are quantized"
            )
        return Decoder(
            self.source,
            float64_copy(self.model),
            self.tokenizer,
            revision=self.revision,
            float64=True,
            quantized=None if known is None else replace(known, dense=True),
            left_out=self.left_out,
        )

    def rounded(self, rounding: Rounding) -> "Decoder":
        """Makes a decoder of the same model that rounds the output of every block.

        The two decoders share their modules; this one goes on computing without rounding.
        """
        return Decoder(
            self.source,
            self.model,
            self.tokenizer,
            revision=self.revision,
            float64=self.float64,
            quantized=self.quantized,
            rounding=rounding,
            left_out=self.left_out,
            streamed=self.streamed,
        )

    def _run_part(
        self, ids: Tensor, layers: Sequence[Layer], cache: DynamicCache
    ) -> dict[Layer, Tensor]:
        """Runs more tokens of rows, and adds them to their cache."""
        with torch.no_grad():
            return self._forward(ids, layers, torch.clone, cache)

    def _by_block(self, parts: Sequence[Tensor], layers: Sequence[Layer]) -> bool:
        """Whether several passes of candidates share what is read of blocks that are on disk."""
        return self.streamed is not None and len(parts) > 1 and any(map(depth, layers))

    def _in_rows(
        self, prefix: Prefix | None, parts: Sequence[Tensor], layers: Sequence[Layer]
    ) -> list[dict[Layer, Tensor]]:
        if self._by_block(parts, layers):
            self.accepted.layers(layers, prefix)
            passes = [CandidatePass.in_rows(prefix, some) for some in parts]
            return candidates_by_block(self, prefix, passes, layers)
        return [
            self.states(some[:, None], layers, positions=torch.zeros_like(some), prefix=prefix)
            for some in parts
        ]

    def _side_by_side(
        self, prefix: Prefix, parts: Sequence[Tensor], layers: Sequence[Layer]
    ) -> list[dict[Layer, Tensor]]:
        self.accepted.layers(layers, prefix)
        self.accepted.length(len(prefix) + 1)
        most, device = self.limits.side_by_side, self.device
        passes = [CandidatePass.side_by_side(prefix, some, most, device) for some in parts]
        if self._by_block(parts, layers):
            found = candidates_by_block(self, prefix, passes, layers)
        else:
            found = [self._one_pass(prefix, one, layers) for one in passes]
        # What is not seen is multiplied by zero, and zero times a candidate's NaN is NaN.
        return [
            one
            if all(bool(states.isfinite().all()) for states in one.values())
            else self.candidates(prefix, some, layers, side_by_side=False)
            for one, some in zip(found, parts, strict=True)
        ]

    def _one_pass(
        self, prefix: Prefix, one: CandidatePass, layers: Sequence[Layer]
    ) -> dict[Layer, Tensor]:
        cache = prefix.broadcast(len(one.ids))
        with torch.no_grad():
            return self._forward(self._checked(one.ids), layers, one.kept, cache, **one.named)

    def _run_again(
        self, prefixes: PrefixBuffer, rows: Sequence[int], ids: Tensor, layers: Sequence[Layer]
    ) -> Continued:
        """Continues prefixes of which only the tokens are kept: each row runs from its beginning."""
        lengths, width = prefixes.lengths(rows).to(self.device), ids.shape[1]
        whole = ids[:, :1].repeat(1, int(lengths.max()) + width)
        for at, row in enumerate(rows):
            before = torch.tensor(prefixes.ids[row], dtype=torch.long, device=self.device)
            whole[at, : len(before) + width] = torch.cat([before, ids[at]])
        # No row is as long as the batch and the longest padding together.
        limit = whole.shape[1] if self.context is None else self.context
        whole = whole[:, :limit]
        columns = lengths[:, None] + torch.arange(width, device=self.device)
        columns = columns.clamp(max=whole.shape[1] - 1)[..., None]
        states = {
            layer: every.gather(1, columns.expand(-1, -1, every.shape[2]))
            for layer, every in self.states(whole, layers).items()
        }
        return Continued(tuple(rows), ids, prefixes.depth, states)

    def candidate_batch(self, prefix: Prefix | None) -> int:
        """How many rows of one token behind a prefix are run at once."""
        limits = self.limits
        if prefix is None:
            return limits.rows
        tokens = 1 if prefix.cache is not None else len(prefix) + 1
        held = limits.cpu_bytes if self.device.type == "cpu" else limits.device_bytes
        rows = min(held // max(prefix.nbytes, 1), limits.tokens // tokens)
        return max(1, min(rows, limits.rows))
