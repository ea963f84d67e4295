"""Free memory, and a cache of layers that keeps a budget of it.

The budget is for what is kept from one question to the next: layers' rows, rounded rows, numbers of
each row. What computing an answer takes comes on top and is bounded by other means: the model, a batch
and the open shard while states are captured, a float64 copy of the model where one fits, and what the
search of a layer needs beside its rows.
"""

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import torch

from pytest_injectivity.core.layers import Layer

_ROOT = Path("/")


def free_memory(device: torch.device, *, system: Path = _ROOT) -> int:
    """Free bytes on a device.

    On a CPU: what the system could give without swapping (files that it caches count as free), at most
    what the limits of a container leave.

    Args:
        device: where.
        system: the folder that the system's files are in.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    available = int(psutil.virtual_memory().available)
    left = _left_in_container(system)
    return available if left is None else min(available, left)


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


def _left_in_container(system: Path) -> int | None:
    """What the memory limits of the process's control groups leave; None where there is no limit.

    psutil reports the memory of the machine, of which a container may have a part only.
    """
    left = []
    for folder, limit, used in _control_groups(system):
        try:
            most, held = ((folder / name).read_text() for name in (limit, used))
            left.append(max(0, int(most) - int(held)))
        except (OSError, ValueError):  # not there, or "max": no limit
            continue
    return min(left, default=None)


def _control_groups(system: Path) -> Iterator[tuple[Path, str, str]]:
    """The folders that may limit the process's memory, with the names of limit and usage.

    The process's own group and those above it; in a container the root is its own.
    """
    try:
        lines = (system / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = ["0::/"]
    for line in lines:
        _, controllers, own = line.split(":", 2)
        if not controllers:
            root, files = system / "sys/fs/cgroup", ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            root = system / "sys/fs/cgroup/memory"
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        group = root / own.strip("/")
        for folder in (group, *group.parents):
            yield folder, *files
            if folder == root:
                break
