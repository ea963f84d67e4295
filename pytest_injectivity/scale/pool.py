"""A pool of workers of which each may die: its part is run again in a fresh one.

What starts a worker is handed in, so that this file knows nothing of processes.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from queue import LifoQueue
from threading import Lock
from typing import Any, Protocol, TypeVar

from pytest_injectivity.core.ahead import in_order
from pytest_injectivity.errors import WorkersDied

Part = TypeVar("Part")
Done = TypeVar("Done")

_ATTEMPTS = 4
"""How many workers a part is given: what kills as many of them kills every worker."""


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


@dataclass(eq=False)
class _Run:
    """A job on its parts, until who wants their results has all of them or takes no more."""

    left: bool = False


class Pool:
    """Runs parts of jobs in workers, each of which lives until it dies or the pool is closed.

    Starting a worker takes seconds, and it holds what jobs have loaded: so all jobs of a run share the
    workers. One is started when there is a part for it. See `core.executor.Executor`.

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
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="injectivity-worker")
        # Each place has a worker, or none yet; one that was started is taken before another starts.
        self._places: LifoQueue[Worker | None] = LifoQueue()
        for _ in range(count):
            self._places.put(None)
        self._living: set[Worker] = set()
        self._computing: dict[Worker, _Run] = {}
        self._lock = Lock()
        self._closed = False

    def map(self, job: Callable[[Part], Done], parts: Iterable[Part]) -> Generator[Done]:
        """Runs a job on each part, and gives the results in the order of the parts.

        Where no more results are taken, workers that compute some are ended; the others live on.

        Raises:
            WorkersDied: a part ended one worker after the other, or the pool is closed.
        """
        run = _Run()

        def begin(part: Part) -> Future[Done]:
            return self._threads.submit(self._done, run, job, part)

        try:
            yield from in_order(begin, self._while_open(run, parts), self.count)
        finally:
            self._leave(run)

    def close(self) -> None:
        """Ends all workers; no other is started."""
        with self._lock:
            self._closed = True
            living = tuple(self._living)
            self._living.clear()
        try:
            _stop(living)
        finally:
            self._threads.shutdown(cancel_futures=True)

    def _done(self, run: _Run, job: Callable[[Part], Done], part: Part) -> Done:
        """Runs a part in the next worker that is free, and in others where that one dies."""
        worker = self._places.get()
        try:
            for _ in range(self._attempts):
                worker = self._taken(run, worker)
                try:
                    done: Done = worker.run(job, part)
                except WorkerDied as error:
                    died = error
                    self._end(worker)
                else:
                    return done
        finally:
            self._places.put(self._given_back(worker))
        raise WorkersDied(
            f"{self._attempts} workers died one after the other on one part of the work ({died}):"
            " where memory ran out, ask for fewer workers or fewer tokens a pass"
        ) from died

    def _taken(self, run: _Run, worker: Worker | None) -> Worker:
        """The worker, or a fresh one where it has died, which computes for a run from now on."""
        with self._lock:
            if worker not in self._living:
                worker = None
            self._check(run)
        fresh = self._start() if worker is None else worker
        with self._lock:
            self._living.add(fresh)
            self._computing[fresh] = run
            wanted = not (run.left or self._closed)
        if not wanted:
            self._end(fresh)
            self._check(run)
        return fresh

    def _while_open(self, run: _Run, parts: Iterable[Part]) -> Iterator[Part]:
        for part in parts:
            self._check(run)
            yield part

    def _check(self, run: _Run) -> None:
        if run.left or self._closed:
            raise WorkersDied("the workers were ended")

    def _given_back(self, worker: Worker | None) -> Worker | None:
        """The worker for the next part; None where it has died."""
        with self._lock:
            if worker is not None:
                self._computing.pop(worker, None)
            return worker if worker in self._living else None

    def _leave(self, run: _Run) -> None:
        """Ends the workers that compute what nobody takes any more."""
        with self._lock:
            run.left = True
            busy = [worker for worker, its in self._computing.items() if its is run]
            self._living.difference_update(busy)
        _stop(busy)

    def _end(self, worker: Worker) -> None:
        with self._lock:
            known = worker in self._living
            self._living.discard(worker)
            self._computing.pop(worker, None)
        if known:
            worker.stop()


def _stop(workers: Iterable[Worker]) -> None:
    """Ends workers, all of them also where ending one is an error."""
    with ExitStack() as every:
        for worker in workers:
            every.callback(worker.stop)
