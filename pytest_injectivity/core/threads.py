"""Settings of OpenMP threads, made once before torch starts its own.

OpenMP threads spin while they wait. With another busy process on the machine a forward pass of 14 ms
took 354 ms, and with pytest-xdist the other workers are such processes. Waiting passively and dividing
the cores among the workers cures both. A setting the user made is never overridden. How many threads
there are is said; how they wait is not, because it changes no number.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pytest_injectivity.core.text import number_of


def settle_threads(workers: int = 1) -> str | None:
    """Make OpenMP wait passively, and give this process its share of the cores.

    Args:
        workers: processes that compute side by side, this one included.

    Returns:
        A sentence about the threads of workers, None where their number was not changed.
    """
    if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    if workers > 1 and "OMP_NUM_THREADS" not in os.environ:
        import torch

        share = max(1, (os.cpu_count() or 1) // workers)
        if torch.get_num_threads() > share:
            torch.set_num_threads(share)
            return f"{workers} workers compute with {number_of(share, 'thread')} each"
    return None


def share_of_threads(share: int) -> dict[str, str]:
    """The environment of a worker that is about to be started on so many cores.

    What the user has set holds for workers as well.
    """
    made = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": str(share)}
    return {name: os.environ.get(name, value) for name, value in made.items()}


def threads_of(share: int) -> int:
    """On how many threads a worker that is started on so many cores computes."""
    return int(share_of_threads(share)["OMP_NUM_THREADS"].partition(",")[0])


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Has torch compute on so many threads for a while.

    Short operations gain nothing from a second thread, and wait for it: hundreds of them took twice as
    long on two threads of a quiet machine, and ten times as long on a busy one.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
