"""Runs a model whose states at every layer are replaced by given ones, and shows what it computed.

Each block then reads the states of the parent, whatever the blocks before it do. What it makes of them
is compared with what the parent's block makes of them (SPEC section 7, "Block error").
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Int
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.quantization.activation_hooks import residual_stream, with_residual_stream

States = Mapping[Layer, Tensor]
Seen = Callable[[Layer, Tensor], None]


def run_forced(
    decoder: Decoder, ids: Int[Tensor, "batch length"], states: States, seen: Seen
) -> None:
    """Runs token ids through a model whose layers 0 to L are replaced by these states.

    Args:
        decoder: the model.
        ids: token ids; rows shorter than the batch are padded on the right.
        states: of each layer 0 to L, ``(batch, length, hidden)``.
        seen: is called with each layer, ``"norm"`` included, and the states that the model computed
            there from the given states of the layer before.
    """
    with torch.no_grad(), decoder.running(), _forcing(decoder, states, seen):
        output: Any = decoder.parts.base(input_ids=ids.to(decoder.device), use_cache=False)
    seen("norm", output.last_hidden_state)


@contextmanager
def _forcing(decoder: Decoder, states: States, seen: Seen) -> Iterator[None]:
    # Hooks that are registered here see the output that `running` has rounded.
    with ExitStack() as hooks:
        first: Any = decoder.parts.blocks[0]
        hooks.enter_context(
            first.register_forward_pre_hook(partial(_before, states[0], seen), with_kwargs=True)
        )
        for at, block in enumerate(decoder.parts.blocks, 1):
            hooks.enter_context(block.register_forward_hook(partial(_after, at, states[at], seen)))
        yield


def _before(
    given: Tensor, seen: Seen, _block: object, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    own: Tensor = args[0] if args else kwargs["hidden_states"]
    seen(0, own)
    given = given.to(own)
    return ((given, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": given})


def _after(
    layer: Layer, given: Tensor, seen: Seen, _block: object, _args: object, output: Any
) -> Any:
    own = residual_stream(output)
    seen(layer, own)
    return with_residual_stream(output, given.to(own))
