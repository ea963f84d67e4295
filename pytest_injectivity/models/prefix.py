"""A cached prefix: its keys and values are kept, so that running on costs the new tokens only."""

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedConfig

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Int

# The name that a forward pass takes its cache by: transformers has renamed it in 5.24.
_NAMES = ("cache", "past_key_values")


def cache_name(module: nn.Module) -> str | None:
    """The argument by which a module's forward pass takes keys and values; None where it takes none."""
    return _name(type(module).forward)


@cache
def _name(forward: Callable[..., Any]) -> str | None:
    taken = inspect.signature(forward).parameters
    return next((name for name in _NAMES if name in taken), None)


@dataclass(frozen=True, eq=False)
class Prefix:
    """Token ids and what the blocks up to a depth have cached of them; never changed once made.

    Attributes:
        ids: the tokens, on the decoder's device.
        depth: the deepest layer that may be asked of a continuation.
        cache: one row of keys and values of the blocks up to ``depth`` (a block that attends to a
            sliding window keeps the window only); ``None`` where the family recomputes its prefix.
    """

    ids: Int[Tensor, " length"]
    depth: Layer
    cache: DynamicCache | None

    def __len__(self) -> int:
        """How many tokens."""
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        """Bytes of the keys and values of one row."""
        layers: list[Any] = self.cache.layers if self.cache is not None else []
        kept = [t for layer in layers for t in (layer.keys, layer.values) if t is not None]
        return sum(tensor.numel() * tensor.element_size() for tensor in kept)

    def broadcast(self, batch: int) -> DynamicCache | None:
        """A cache of ``batch`` equal rows for one forward pass; this prefix stays as it is.

        The rows are views of the one kept here. The library's dynamic layers replace their keys and
        values by a concatenation and never write into them, and the counters of a sliding window
        are plain integers, so a shallow copy of each layer is enough.
        """
        if self.cache is None:
            return None
        broadcast = copy.copy(self.cache)
        layers: list[Any] = [copy.copy(layer) for layer in self.cache.layers]
        for layer in layers:
            if layer.is_initialized:
                layer.keys = layer.keys.expand(batch, -1, -1, -1)
                layer.values = layer.values.expand(batch, -1, -1, -1)
        broadcast.layers = layers
        return broadcast


def empty_cache(config: PreTrainedConfig) -> DynamicCache:
    """A cache of no tokens, with a sliding window where the configuration has one."""
    return DynamicCache(config=config)
