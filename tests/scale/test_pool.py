"""A pool of workers: order, workers that die, and errors of jobs."""

from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

import pytest

from pytest_injectivity.errors import OptionError, WorkersDied
from pytest_injectivity.scale.pool import Pool
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
    assert all(one.stopped for one in start.workers)


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
    """Each holds a model: none outlives its job, and none is started without a part."""
    start = Started()
    assert parts == len(list(Pool(start, 2).map(square, range(parts))))
    assert all(one.stopped for one in start.workers)
    assert min(parts, 1) <= len(start.workers) <= min(parts, 2)


def test_no_worker_is_left_where_results_are() -> None:
    """Who takes no more of them ends the job."""
    start = Started()
    found = Pool(start, 2).map(square, range(100))
    assert 0 == next(found)
    found.close()
    assert all(one.stopped for one in start.workers)
    assert len(start.runs) < 10


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
