"""Lines on long work for logs, which have no terminal to draw a bar on.

The lines come from a thread of their own, because a step of the work may take longer than a reader of a
CI log, or a runner that ends silent jobs, waits.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pytest_injectivity.core.durations import duration
from pytest_injectivity.core.progress import Steps
from pytest_injectivity.core.text import one_line

EVERY = 20.0
"""Seconds between two lines: under 30, whatever the machine does beside."""

_LONGEST = 200


class ProgressLines:
    """Writes a line on a piece of work every so many seconds, until it is over.

    Args:
        label: names the work.
        total: its number of steps; 0 where they are not counted.
        write: called with each line.
        every: seconds between two lines.
        clock: seconds since any moment.
        wait: waits so many seconds, or until the work is over; returns whether it is. None waits for
            real.
    """

    def __init__(
        self,
        label: str,
        total: int,
        write: Callable[[str], None],
        *,
        every: float = EVERY,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self._label = one_line(label, _LONGEST)
        self._write = write
        self._every = every
        self._clock = clock
        self._over = threading.Event()
        self._wait = self._over.wait if wait is None else wait
        self._begun = clock()
        self._steps = Steps(total)

    def advance(self, done: int) -> None:
        """Take the number of steps done so far."""
        self._steps.advance(done)

    @property
    def line(self) -> str:
        """The line on the work as it stands: its steps, its time so far, and the time left."""
        passed = self._clock() - self._begun
        parts = [f"{duration(passed)} so far"]
        done, total = self._steps.done, self._steps.total
        if total:
            parts.insert(0, f"{done} of {total}")
            if 0 < done < total:
                left = passed * (total - done) / done
                parts.append(f"about {duration(left)} left")
        return f"injectivity: {self._label}: {', '.join(parts)}"

    def tell(self) -> None:
        """Write lines until the work is over."""
        while not self._wait(self._every):
            self._write(self.line)

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Write lines, from another thread, while the context is entered."""
        thread = threading.Thread(target=self.tell, name="injectivity-progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
