"""Several devices of this machine that search tiles side by side, each by a thread of this process."""

from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

import torch

from pytest_injectivity.core.ahead import in_order
from pytest_injectivity.geometry.search.sendable import Sendable

Part = TypeVar("Part")
Done = TypeVar("Done")


class DeviceThreads:
    """Runs parts of a search on devices; see `core.executor.Executor`.

    A job is copied to each device once.

    Args:
        devices: those that share the parts.
    """

    def __init__(self, devices: Sequence[torch.device]) -> None:
        self.devices = tuple(devices)

    @property
    def count(self) -> int:
        """How many devices there are."""
        return len(self.devices)

    @property
    def threads(self) -> int:
        """As many times those of this process: each device computes by itself."""
        return self.count * torch.get_num_threads()

    def map(self, job: Callable[[Part], Done], parts: Iterable[Part]) -> Generator[Done]:
        """Runs a job on each part, and gives the results in the order of the parts.

        Where no more results are taken, the parts that are under way are waited for.
        """
        free: SimpleQueue[Callable[[Part], Done]] = SimpleQueue()
        for device in self.devices:
            free.put(_on(job, device))

        def run(part: Part) -> Done:
            own = free.get()
            try:
                return own(part)
            finally:
                free.put(own)

        with ThreadPoolExecutor(self.count, thread_name_prefix="injectivity-device") as threads:
            yield from in_order(lambda part: threads.submit(run, part), parts, self.count)


def _on(job: Callable[[Part], Done], device: torch.device) -> Callable[[Part], Done]:
    return job.to(device) if isinstance(job, Sendable) else job
