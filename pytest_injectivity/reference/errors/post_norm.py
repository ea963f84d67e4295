"""Whether the blocks of a model end in a norm, so that what they return is no sum with what they got."""

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.quantization.activation_hooks import residual_stream


def is_post_norm(decoder: Decoder) -> bool:
    """Whether the first block returns what one of its norms returned.

    In such a block the residual stream is normalized after the sum, as in the first Transformers.

    Args:
        decoder: the model; one token is run through it.
    """
    made: list[Tensor] = []
    block: Any = decoder.parts.blocks[0]

    def keep(_module: object, _args: object, output: Any) -> None:
        made.append(residual_stream(output))

    with ExitStack() as hooks:
        for module in block.modules():
            if "norm" in type(module).__name__.lower():
                hooks.enter_context(module.register_forward_hook(keep))
        hooks.enter_context(block.register_forward_hook(keep))
        decoder.states(torch.zeros(1, 1, dtype=torch.long), [1])
    *norms, returned = made
    return any(one.shape == returned.shape and bool((one == returned).all()) for one in norms)
