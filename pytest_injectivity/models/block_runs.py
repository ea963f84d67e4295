"""Runs batches through one block of a model at a time.

Between two blocks a row is its states at every position, and nothing else. The library's own pass makes
what a block gets beside them: positions, masks, rotary embeddings. The blocks before are left out of
it, and the pass ends behind the block.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float, Int
from pytest_injectivity.models.forward import Forward
from pytest_injectivity.models.prefix import Prefix, empty_cache
from pytest_injectivity.quantization.activation_hooks import residual_stream, with_residual_stream

States = dict[Layer, Float[Tensor, "batch length hidden"]]


class BlockRuns:
    """Runs batches through the blocks of a model, block after block.

    Args:
        decoder: the model.

    Attributes:
        decoder: as given.
        steps: the blocks from 0, and behind them the end: the final norm.
    """

    def __init__(self, decoder: Forward) -> None:
        self.decoder = decoder
        self.steps = range(decoder.n_layers + 1)
        self._step = 0
        # What each block returned beside its states, so that it can be left out.
        self._forms: dict[int, Any] = {}

    @contextmanager
    def at(self, step: int) -> Iterator[None]:
        """Keeps one block ready, whose weights are read once, and leaves out those before it.

        Args:
            step: one of `steps`; those before it were run.
        """
        blocks, streamed = self.decoder.parts.blocks, self.decoder.streamed
        own = step if step < len(blocks) else None
        self._step = step
        with ExitStack() as stack:
            if streamed is not None:
                stack.enter_context(streamed.only(own))
            for index, block in enumerate(blocks[:step]):
                block.forward = partial(_left_out, self._forms[index])
                stack.callback(delattr, block, "forward")
            if own is not None:
                stack.enter_context(blocks[own].register_forward_hook(self._remember))
            yield

    def run(
        self,
        ids: Int[Tensor, "batch length"],
        before: Float[Tensor, "batch length hidden"] | None,
        cache: Any = None,
        **named: Any,
    ) -> States:
        """Runs a batch through the block that is ready.

        Args:
            ids: as for `Decoder.states`.
            before: the batch's states before the block; None before the first.
            cache: of the tokens before, as `prefix` gives it.
            named: further inputs of the library's pass.

        Returns:
            The states behind the block by their layer (at the last step ``"norm"``); before them, at the
            first step, those of layer 0.
        """
        step = self._step
        layers: list[Layer] = ["norm" if step == self.decoder.n_layers else step + 1]
        begun = None if before is None else (step, before.to(self.decoder.device))
        return self.decoder.one_block(ids, layers if step else [0, *layers], begun, cache, **named)

    def prefix(
        self, ids: Int[Tensor, " length"], before: Float[Tensor, "1 length hidden"] | None
    ) -> tuple[Float[Tensor, "1 length hidden"] | None, Prefix]:
        """Runs tokens that many rows continue through the block that is ready.

        Args:
            ids: the tokens.
            before: their states before the block; None before the first.

        Returns:
            Their states behind the block (None at the last step), and what the block caches of them,
            which no other block can be run behind.
        """
        config, step = self.decoder.parts.base.config, self._step
        cache = empty_cache(config)
        if step == self.decoder.n_layers:
            return None, Prefix(ids, "norm", _of_length(len(ids), cache, config))
        after = self.run(ids[None], before, cache)[step + 1]
        return after, Prefix(ids, step + 1, _of_length(len(ids), cache, config))

    def _remember(self, _block: object, _args: object, output: Any) -> None:
        # No view of the states, which would keep them in memory; and no other tensor, which would be
        # that of another batch (a block that reads one then gives other states, as its proof finds).
        nothing = residual_stream(output).new_empty(0)
        if isinstance(output, (tuple, list)):
            output = type(output)(None if isinstance(one, Tensor) else one for one in output)
        self._forms[self._step] = with_residual_stream(output, nothing)


def _of_length(length: int, cache: DynamicCache, config: Any) -> DynamicCache:
    """A cache whose every block has so many tokens; of those that were not run without memory for them.

    The library reads positions and masks off the first blocks of a cache, whichever block is run.

    Args:
        length: in tokens.
        cache: of one block that was run; or of none.
        config: of the model.
    """
    whole = empty_cache(config)
    ran: list[Any] = cache.layers
    filled = [layer for layer in ran if layer.is_initialized]
    like = filled[0] if filled else None
    small = torch.zeros(1, 1, length, 1) if like is None else like.keys.new_zeros(1, 1, length, 1)
    for at, (layer, own) in enumerate(zip(whole.layers, ran, strict=True)):
        if own.is_initialized:
            whole.layers[at] = own
            continue
        one: Any = layer
        one.update(small, small)
        if like is not None:
            heads, size = like.keys.shape[1], like.keys.shape[3]
            one.keys = one.keys.expand(1, heads, -1, size)
            one.values = one.values.expand(1, heads, -1, like.values.shape[3])
    return whole


def _left_out(form: Any, *args: Any, **kwargs: Any) -> Any:
    """What a block that is left out returns: the states that it gets."""
    return with_residual_stream(form, args[0] if args else kwargs["hidden_states"])
