"""How much memory there is, and what is held in it: layers, the least recently used let go first.

The budget is of what is held between two questions: layers' rows, rounded rows, numbers of each row.
What answering one takes comes on top, and is bounded by other means: the model, a batch and the open
shard while states are captured, a float64 copy of the model where one fits, and what the search of a
layer needs beside its rows.
"""

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from pytest_injectivity.core.layers import Layer

_UNKNOWN = 4 * 2**30
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def free_memory(device: torch.device) -> int | None:
    """Free bytes on a device; None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = [free for free in (_available(), _left_in_container()) if free is not None]
    return min(found, default=None)


def default_budget(workers: int) -> int:
    """Half of what is free, divided among the processes that compute side by side.

    4 GiB stand for what the system does not say.
    """
    return (free_memory(torch.device("cpu")) or _UNKNOWN) // 2 // workers


class Held:
    """Parts of layers held in memory within a budget.

    A part that is put in is held until others need its room: layers not used for longest go first,
    whole; then other parts of the same layer. A part larger than the budget is held alone, as
    somebody is using it.

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
        """A part, if it is held; its layer is then the one used last."""
        if part not in self._layers.get(layer, {}):
            return None
        self._layers.move_to_end(layer)
        return self._layers[layer][part][0]

    def put(self, layer: Layer, part: object, value: Any, size: int) -> None:
        """Hold a part of ``size`` bytes, and let others go until the budget is kept."""
        parts = self._layers.setdefault(layer, {})
        parts[part] = (value, size)
        self._layers.move_to_end(layer)
        while self.size > self.budget and len(self._layers) > 1:
            self._layers.popitem(last=False)
        for other in [other for other in parts if other != part]:
            # What costs nothing frees nothing.
            if self.size > self.budget and parts[other][1]:
                del parts[other]


def _available() -> int | None:
    """What the system could give without swapping: files it caches count as free."""
    try:
        lines = _MEMINFO.read_text().splitlines()
        (kilobytes,) = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        return int(kilobytes) * 1024
    except (OSError, ValueError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def _left_in_container() -> int | None:
    """What a container's limit leaves (cgroup 2)."""
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        return max(0, limit - int((_CGROUP / "memory.current").read_text()))
    except (OSError, ValueError):
        return None
