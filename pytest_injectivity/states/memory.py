"""Cache of layers that keeps a budget of memory.

The budget is for what is kept from one question to the next: layers' rows, rounded rows, numbers of
each row. What computing an answer takes comes on top and is bounded by other means: the model, a batch
and the open shard while states are captured, a float64 copy of the model where one fits, and what the
search of a layer needs beside its rows.
"""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from pytest_injectivity.core.free_memory import free_memory
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.errors import ModelError

_ROOT = Path("/")


def is_out_of_memory(error: RuntimeError) -> bool:
    """CUDA has its own class; other allocators (Linux, Windows, mps) only say so in words."""
    words = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, torch.OutOfMemoryError) or any(said in str(error) for said in words)


def too_long(source: str, device: torch.device, tokens: int) -> ModelError:
    """What is raised where memory does not hold a single prompt.

    Args:
        source: names the model.
        device: whose memory.
        tokens: of the prompt.
    """
    return ModelError(
        f"{source}: memory on {device} does not hold a single prompt of {tokens} tokens; shorter prompts"
        " (--injx-length) or another device (--injx-device) are needed"
    )


def default_budget(workers: int, *, system: Path = _ROOT) -> int:
    """Half of the free memory, in bytes, divided among the processes that compute side by side."""
    return free_memory(torch.device("cpu"), system=system) // 2 // workers


class Held:
    """A cache of parts of layers (states, geometry, ...) within a budget of bytes.

    A part is held until others need its room. Whole layers go first, those not used for longest before
    others; then the other parts of the same layer. A part larger than the budget is held alone, because
    its caller is using it.

    Args:
        budget: bytes.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._layers: OrderedDict[Layer, dict[object, tuple[Any, int]]] = OrderedDict()

    @property
    def size(self) -> int:
        """Bytes held."""
        return sum(size for parts in self._layers.values() for _, size in parts.values())

    def get(self, layer: Layer, part: object) -> Any | None:
        """Returns a part, or None if it is not held; its layer is then the one used last."""
        if part not in self._layers.get(layer, {}):
            return None
        self._layers.move_to_end(layer)
        return self._layers[layer][part][0]

    def put(self, layer: Layer, part: object, value: Any, size: int) -> None:
        """Holds a part of ``size`` bytes, and lets others go until the budget is kept."""
        parts = self._layers.setdefault(layer, {})
        parts[part] = (value, size)
        self._layers.move_to_end(layer)
        while self.size > self.budget and len(self._layers) > 1:
            self._layers.popitem(last=False)
        for other in [other for other in parts if other != part]:
            # A part of size 0, such as a mapped file, would free nothing.
            if self.size > self.budget and parts[other][1]:
                del parts[other]
