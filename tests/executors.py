"""Executors without processes: what is handed to workers is pickled all the same."""

import pickle
from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import Any

from pytest_injectivity.scale.pool import WorkerDied


def sent(what: Any) -> Any:
    """As it arrives in another process."""
    return pickle.loads(pickle.dumps(what))  # noqa: S301 - what was pickled here


class InTurn:
    """Runs part after part in this process, and counts them; takes parts ahead, as a pool does.

    Args:
        count: workers that it says it has.
        stop: raises this instead of running the part after so many.
    """

    def __init__(self, count: int = 2, stop: tuple[int, BaseException] | None = None) -> None:
        self.count = count
        self.threads = 64 * count
        self.ran = 0
        self._stop = stop

    def map(self, job: Callable[[Any], Any], parts: Iterable[Any]) -> Generator[Any]:
        """See `core.executor.Executor`."""
        taken: deque[Any] = deque()
        for part in parts:
            if len(taken) == 2 * self.count:
                yield self._done(job, taken.popleft())
            taken.append(sent(part))
        while taken:
            yield self._done(job, taken.popleft())

    def _done(self, job: Callable[[Any], Any], part: Any) -> Any:
        if self._stop is not None and self.ran == self._stop[0]:
            raise self._stop[1]
        self.ran += 1
        return sent(sent(job)(part))


class Mortal:
    """A worker in this process that dies on the runs of all workers that are named by number.

    Args:
        deaths: the numbers, counted from 0 over the workers that share the list of runs.
        runs: what all of them ran so far.
    """

    def __init__(self, deaths: Iterable[int], runs: list[Any]) -> None:
        self.deaths = set(deaths)
        self.runs = runs
        self.stopped = False
        self.lost = False

    def run(self, job: Callable[[Any], Any], part: Any) -> Any:
        """See `pool.Worker`."""
        number = len(self.runs)
        self.runs.append(part)
        if number in self.deaths:
            raise WorkerDied("killed")
        return job(part)

    def stop(self) -> None:
        """See `pool.Worker`."""
        self.stopped = True
        if self.lost:
            raise ConnectionError("it does not answer")
