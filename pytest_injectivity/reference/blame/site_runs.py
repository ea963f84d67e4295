"""Runs one site of a model alone on given states: the embeddings, a block, or what follows them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float, Int
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.resume import logits_from_states
from pytest_injectivity.quantization.activation_hooks import residual_stream

Run = Callable[[], Float[Tensor, "batch length width"]]
"""Runs a site, with whatever is exchanged in the model when it is called; the result is in float64."""


class _Called(Exception):  # noqa: N818 - it stops a forward pass, it is no error
    """Raised when the block has been called, to end the pass there."""


def run_of(
    decoder: Decoder,
    layer: Layer,
    ids: Int[Tensor, "batch length"],
    before: Float[Tensor, "batch length hidden"],
    vocabulary: int,
) -> Run:
    """A function that runs one site on given states, with the model's own masks and positions.

    Args:
        decoder: the model.
        layer: 0 for the embeddings, 1 to L for a block, ``"norm"`` for the final norm and the head,
            whose logits are given without their mean over the vocabulary.
        ids: the tokens that the states belong to.
        before: the states before the site; of no use to the embeddings.
        vocabulary: how many tokens have logits: those that both models have.
    """
    if layer == 0:
        return lambda: _wide(decoder.states(ids, [0])[0])
    if layer == "norm":
        return lambda: _logits(decoder, ids, before, vocabulary)
    return _run_of_block(decoder, decoder.parts.blocks[layer - 1], ids, before)


def _run_of_block(decoder: Decoder, block: Any, ids: Tensor, before: Tensor) -> Run:
    args, kwargs = _arguments(decoder, block, ids)
    first = "hidden_states"
    given = before.to(args[0] if args else kwargs[first])

    def run() -> Tensor:
        with torch.no_grad(), decoder.running():
            output = block(given, *args[1:], **kwargs) if args else block(**kwargs | {first: given})
        # The state that is rounded to the model's dtype is no part of the block's own doing.
        return _wide(residual_stream(output)) - (_wide(given) - _wide(before))

    return run


def _logits(decoder: Decoder, ids: Tensor, before: Tensor, vocabulary: int) -> Tensor:
    given = before.to(decoder.dtype)
    found = _wide(logits_from_states(decoder, ids, decoder.n_layers, given)[..., :vocabulary])
    return found - found.mean(-1, keepdim=True)


def _wide(states: Tensor) -> Tensor:
    return states.cpu().double()


def _arguments(decoder: Decoder, block: Any, ids: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a block is called with in a pass of the model."""
    seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def keep(_module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append((args, kwargs))
        raise _Called

    handle = block.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        with torch.no_grad(), decoder.running():
            decoder.parts.base(input_ids=ids.to(decoder.device), use_cache=False)
    except _Called:
        pass
    finally:
        handle.remove()
    return seen[0]
