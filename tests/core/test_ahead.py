"""Parts begun ahead of the one that is waited for."""

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing

import pytest

from pytest_injectivity.core.ahead import in_order


def _futures(count: int) -> list[Future[int]]:
    return [Future() for _ in range(count)]


def test_results_are_in_the_order_of_the_parts() -> None:
    """Whichever is done first."""
    futures = _futures(3)
    for part in (2, 0, 1):
        futures[part].set_result(10 * part)
    assert [0, 10, 20] == list(in_order(futures.__getitem__, range(3), 1))


def test_parts_are_taken_as_there_is_room_for_them() -> None:
    """Two of each place are begun before the first result, and one more after each."""
    futures, taken = _futures(9), []

    def parts() -> Iterator[int]:
        for part in range(9):
            taken.append(part)
            yield part

    for future in futures:
        future.set_result(0)
    with closing(in_order(futures.__getitem__, parts(), 2)) as results:
        next(results)
        assert 5 == len(taken)  # the last of them waits for room
        next(results)
    assert 6 == len(taken)


def test_parts_whose_results_nobody_takes_are_cancelled() -> None:
    """Those that have not begun to run; of the others nothing is asked."""
    futures = _futures(4)
    futures[0].set_result(0)
    with closing(in_order(futures.__getitem__, range(4), 2)) as results:
        next(results)
    assert [False, True, True, True] == [one.cancelled() for one in futures]


def test_an_error_cancels_the_parts_behind_it() -> None:
    """And is raised as it is."""
    futures = _futures(3)
    futures[0].set_exception(ValueError("the first"))
    with pytest.raises(ValueError, match="the first"):
        list(in_order(futures.__getitem__, range(3), 2))
    assert [True, True] == [one.cancelled() for one in futures[1:]]
