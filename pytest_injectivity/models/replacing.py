"""Replaces the hidden states of a layer as the library's own pass goes by.

What the blocks before that layer compute is thrown away; positions, masks, soft caps and the head are
the model's own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.models.families import Parts
from pytest_injectivity.quantization.activation_hooks import with_residual_stream


@contextmanager
def replaced(parts: Parts, layer: Layer, states: Tensor) -> Iterator[None]:
    """Replaces the states of a layer by the given ones, whatever the blocks before it compute.

    Args:
        parts: of the model.
        layer: whose states.
        states: of all rows and positions of the pass.
    """
    if layer == "norm":
        handle = parts.base.register_forward_hook(partial(_at_the_end, states))
    elif layer == 0:
        handle = parts.blocks[0].register_forward_pre_hook(
            partial(_before, states), with_kwargs=True
        )
    else:
        handle = parts.blocks[layer - 1].register_forward_hook(partial(_after, states))
    try:
        yield
    finally:
        handle.remove()


def _before(states: Tensor, _block: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if args:
        return (states, *args[1:]), kwargs
    return args, kwargs | {"hidden_states": states}


def _after(states: Tensor, _block: object, _args: object, output: Any) -> Any:
    return with_residual_stream(output, states)


def _at_the_end(states: Tensor, _base: object, _args: object, output: Any) -> Any:
    output["last_hidden_state"] = states
    return output
