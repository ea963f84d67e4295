"""A pool of workers of which each may die: its part is run again on a fresh one.

What starts a worker is handed in, so that this file knows nothing of processes.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from threading import Event, Lock
from typing import Any, Protocol, TypeVar

from pytest_injectivity.errors import WorkersDied

Part = TypeVar("Part")
Done = TypeVar("Done")

_ATTEMPTS = 4
"""How many workers a part is given: what kills as many of them kills every worker."""

# Parts that are under way or done for each worker, while the first of them is waited for.
_AHEAD = 2


class WorkerDied(Exception):  # noqa: N818 - it names what happened
    """A worker is gone, with what it was computing."""


class Worker(Protocol):
    """Runs one job at a time."""

    def run(self, job: Callable[[Any], Any], part: Any) -> Any:
        """Runs a job on a part, and raises what it raises.

        Raises:
            WorkerDied: it is gone.
        """

    def stop(self) -> None:
        """Ends it; what it computes is lost."""


class Pool:
    """Runs parts of a job in workers, each of which lives until it dies or the job is done.

    Workers hold a model each, so none is left when there is nothing for it. A worker is started when
    there is a part for it. See `core.executor.Executor`.

    Args:
        start: starts a worker.
        count: how many there are at once.
        attempts: how many workers a part is given.
    """

    def __init__(
        self, start: Callable[[], Worker], count: int, *, attempts: int = _ATTEMPTS
    ) -> None:
        self.count = count
        self._start = start
        self._attempts = attempts

    def map(self, job: Callable[[Part], Done], parts: Iterable[Part]) -> Generator[Done]:
        """Runs a job on each part, and gives the results in the order of the parts.

        Raises:
            WorkersDied: a part ended one worker after the other.
        """
        workers = _Workers(self._start, self.count, self._attempts)
        begun: deque[Future[Done]] = deque()
        threads = ThreadPoolExecutor(self.count, thread_name_prefix="injectivity-worker")
        try:
            for part in parts:
                if len(begun) == self.count * _AHEAD:
                    yield begun.popleft().result()
                begun.append(threads.submit(workers.run, job, part))
            while begun:
                yield begun.popleft().result()
        finally:
            workers.stop()  # a part that is under way is not waited for
            threads.shutdown(cancel_futures=True)


class _Workers:
    """The workers of one job, of which each place holds one at a time."""

    def __init__(self, start: Callable[[], Worker], count: int, attempts: int) -> None:
        self._start = start
        self._attempts = attempts
        self._places: SimpleQueue[Worker | None] = SimpleQueue()
        for _ in range(count):
            self._places.put(None)
        self._living: set[Worker] = set()
        self._lock = Lock()
        self._stopped = Event()

    def run(self, job: Callable[[Part], Done], part: Part) -> Done:
        """Runs a part in the next worker that is free, and in others where that one dies."""
        worker = self._places.get()
        try:
            for _ in range(self._attempts):
                worker = worker or self._fresh()
                try:
                    done: Done = worker.run(job, part)
                except WorkerDied as error:
                    died = error
                    self._end(worker)
                    worker = None
                else:
                    return done
        finally:
            self._places.put(worker)
        raise WorkersDied(
            f"{self._attempts} workers died one after the other on one part of the work ({died}):"
            " where memory ran out, ask for fewer workers or fewer tokens a pass"
        ) from died

    def stop(self) -> None:
        """Ends all workers; no other is started."""
        self._stopped.set()
        with self._lock:
            living = tuple(self._living)
        for worker in living:
            self._end(worker)

    def _fresh(self) -> Worker:
        if self._stopped.is_set():
            raise WorkersDied("the workers were ended")
        worker = self._start()
        with self._lock:
            self._living.add(worker)
        if self._stopped.is_set():
            self._end(worker)
        return worker

    def _end(self, worker: Worker) -> None:
        with self._lock:
            known = worker in self._living
            self._living.discard(worker)
        if known:
            worker.stop()
