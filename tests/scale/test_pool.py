"""A pool of workers: order, workers that die, and errors of jobs."""

from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

import pytest

from pytest_injectivity.errors import OptionError, WorkersDied
from pytest_injectivity.scale.pool import Pool, WorkerDied
from tests.executors import Mortal


class Started:
    """Starts workers, and remembers them."""

    def __init__(self, *deaths: int) -> None:
        self.deaths = deaths
        self.runs: list[Any] = []
        self.workers: list[Mortal] = []

    def __call__(self) -> Mortal:
        """One more."""
        self.workers.append(Mortal(self.deaths, self.runs))
        return self.workers[-1]


def square(number: int) -> int:
    """A job."""
    return number * number


def refused(number: int) -> int:
    """A job that takes no 3."""
    if number == 3:
        raise OptionError("3 is not accepted")
    return number


def test_results_come_in_the_order_of_the_parts() -> None:
    """Whichever worker is done first: the first part waits for the last that is under way."""
    later = Event()

    def waiting(number: int) -> int:
        assert later.wait(10) if number == 0 else later.set() is None
        return number

    assert [0, 1, 2, 3] == list(Pool(Started(), 2).map(waiting, range(4)))


@pytest.mark.parametrize("deaths", [(0,), (1, 2), (0, 3, 4), (4,)])
def test_the_part_of_a_worker_that_dies_is_run_again(deaths: tuple[int, ...]) -> None:
    """On a fresh worker, which takes the place of the other; nothing is lost or there twice."""
    start = Started(*deaths)
    assert [0, 1, 4, 9, 16] == list(Pool(start, 1).map(square, range(5)))
    assert 5 + len(deaths) == len(start.runs)
    assert 1 + len(deaths) == len(start.workers)


def test_a_part_that_ends_every_worker_ends_the_job() -> None:
    """It is not tried for ever."""
    start = Started(1, 2, 3)
    with pytest.raises(WorkersDied, match=r"3 workers died one after the other .*\(killed\)"):
        list(Pool(start, 1, attempts=3).map(square, range(5)))
    assert [True] * 3 == [one.stopped for one in start.workers[:3]]


def test_what_a_job_raises_is_raised_as_it_is() -> None:
    """And is no death: the part is not run again."""
    start = Started()
    found = Pool(start, 1).map(refused, range(9))
    assert [0, 1, 2] == [next(found) for _ in range(3)]
    with pytest.raises(OptionError, match="3 is not accepted"):
        next(found)
    assert 1 == len(start.workers)


@pytest.mark.parametrize("parts", [0, 1, 5])
def test_no_worker_is_left(parts: int) -> None:
    """Each holds a model: none outlives the pool, and none is started without a part."""
    start = Started()
    pool = Pool(start, 2)
    assert parts == len(list(pool.map(square, range(parts))))
    pool.close()
    assert all(one.stopped for one in start.workers)
    assert min(parts, 1) <= len(start.workers) <= min(parts, 2)


def test_workers_are_there_for_the_next_job() -> None:
    """Each loads its model once; one that had nothing to do is not started before it has."""
    start = Started()
    pool = Pool(start, 2)
    assert [[0, 1, 4]] * 3 == [list(pool.map(square, range(3))) for _ in range(3)]
    assert 1 <= len(start.workers) <= 2
    assert not any(one.stopped for one in start.workers)


class Computing(Mortal):
    """A worker that computes until it is ended."""

    def __init__(self, runs: list[Any]) -> None:
        super().__init__((), runs)
        self.begun, self.ended = Event(), Event()

    def run(self, job: Callable[[Any], Any], part: Any) -> Any:
        """Of the job that takes what comes, nothing comes of 1."""
        if part == 1:
            self.begun.set()
            assert self.ended.wait(10)
            raise WorkerDied("ended")
        return super().run(job, part)

    def stop(self) -> None:
        """Ends it."""
        super().stop()
        self.ended.set()


def test_a_worker_whose_result_nobody_takes_is_ended() -> None:
    """And another takes its place for the next job; parts that wait are not run."""
    workers: list[Computing] = []

    def start() -> Computing:
        workers.append(Computing(runs))
        return workers[-1]

    runs: list[int] = []
    pool = Pool(start, 1)
    found = pool.map(square, range(100))
    assert 0 == next(found)
    assert workers[0].begun.wait(10)
    found.close()
    assert [25] == list(pool.map(square, [5]))
    assert ([0, 5], [True, False]) == (runs, [one.stopped for one in workers])
    pool.close()
    assert all(one.stopped for one in workers)


def test_a_closed_pool_starts_no_worker() -> None:
    """It says so."""
    start = Started()
    pool = Pool(start, 1)
    pool.close()
    with pytest.raises(WorkersDied, match="were ended"):
        list(pool.map(square, range(3)))
    assert not start.workers


def test_all_workers_are_ended_also_where_ending_one_is_an_error() -> None:
    """The connection to it may be lost."""
    start = Started()
    later = Event()

    def both(number: int) -> int:
        assert later.wait(10) if number == 0 else later.set() is None
        return number

    pool = Pool(start, 2)
    list(pool.map(both, range(2)))
    start.workers[0].lost = start.workers[1].lost = True
    with pytest.raises(ConnectionError):
        pool.close()
    assert [True, True] == [one.stopped for one in start.workers]


def test_parts_are_taken_as_there_are_workers_for_them() -> None:
    """Those that wait are in memory."""
    taken: list[int] = []

    def parts() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    job: Callable[[int], int] = square
    found = Pool(Started(), 2).map(job, parts())
    assert 0 == next(found)
    assert len(taken) <= 5
    found.close()
