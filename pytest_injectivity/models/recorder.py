"""Keeps the states of layers as a pass goes by, and ends the pass at the deepest of them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer, depth
from pytest_injectivity.quantization.activation_hooks import residual_stream


class DeepestReached(Exception):  # noqa: N818 - it stops a forward pass, it is no error
    """Raised by the hook of the deepest layer asked for, to end the pass there."""


class Recorder:
    """Keeps the states of the layers asked for, and ends the pass at the deepest of them.

    Args:
        layers: whose states are kept.
        keep: takes the part of a layer's states that is kept.

    Attributes:
        kept: by layer.
    """

    def __init__(self, layers: Sequence[Layer], keep: Callable[[Tensor], Tensor]) -> None:
        self.kept: dict[Layer, Tensor] = {}
        self._layers = set(layers)
        self._deepest = max(layers, key=depth)
        self._keep = keep

    @contextmanager
    def listening(self, blocks: torch.nn.ModuleList) -> Iterator[None]:
        """Hooks the blocks, so that their states are recorded as they run."""
        with ExitStack() as hooks:
            for layer in self._layers - {"norm"}:
                block = blocks[max(int(layer) - 1, 0)]
                hooks.enter_context(
                    block.register_forward_hook(partial(self._after, layer))
                    if layer
                    else block.register_forward_pre_hook(self._before, with_kwargs=True)
                )
            yield

    def record(self, layer: Layer, states: Tensor) -> None:
        """Keeps the wanted part of a layer's states; ends the pass at the deepest layer."""
        self.kept[layer] = self._keep(states)
        if layer == self._deepest:
            raise DeepestReached

    def _before(self, _block: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.record(0, args[0] if args else kwargs["hidden_states"])

    def _after(self, layer: Layer, _block: object, _args: object, output: Any) -> None:
        self.record(layer, residual_stream(output))
