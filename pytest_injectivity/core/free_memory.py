"""Free memory of a device, as a process in a container has it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_ROOT = Path("/")


def free_memory(device: "torch.device", *, system: Path = _ROOT) -> int:
    """Free bytes on a device.

    On a CPU: what the system could give without swapping (files that it caches count as free), at most
    what the limits of a container leave.

    Args:
        device: where.
        system: the folder that the system's files are in.
    """
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    available = int(psutil.virtual_memory().available)
    left = _left_in_container(system)
    return available if left is None else min(available, left)


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
