import threading
from collections.abc import Callable
from itertools import pairwise

from pytest_injectivity.reports.progress_lines import EVERY, ProgressLines


class Clock:
    """A clock that moves by what is waited for."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The seconds passed."""
        return self.now


def _waiting(clock: Clock, times: int, then: Callable[[], None]) -> Callable[[float], bool]:
    """Waits so many times, doing something each time, before the work is over."""
    left = [times]

    def wait(seconds: float) -> bool:
        if not left[0]:
            return True
        left[0] -= 1
        clock.now += seconds
        then()
        return False

    return wait


def test_a_line_comes_at_least_every_thirty_seconds() -> None:
    """Ten minutes of work without one finished step have a line in every half minute."""
    clock, at = Clock(), []
    lines = ProgressLines(
        "SipIt layer04",
        20,
        lambda _line: at.append(clock.now),
        clock=clock,
        wait=_waiting(clock, round(600 / EVERY), lambda: None),
    )
    lines.tell()
    moments = [0.0, *at]
    assert 600 == moments[-1]
    assert 30 >= max(later - earlier for earlier, later in pairwise(moments))


def test_a_line_says_what_is_done_and_what_is_left() -> None:
    """The time left follows from the steps done."""
    clock, written = Clock(), list[str]()
    lines = ProgressLines(
        "hidden states",
        1000,
        written.append,
        every=30,
        clock=clock,
        wait=_waiting(clock, 2, lambda: lines.advance(250)),
    )
    lines.tell()
    assert [
        "injectivity: hidden states: 250 of 1000, 30 s so far, about 1 min 30 s left",
        "injectivity: hidden states: 250 of 1000, 1 min so far, about 3 min left",
    ] == written


def test_work_without_steps_has_its_time_alone() -> None:
    """Nothing is said of steps, nor of what is left."""
    clock, written = Clock(), list[str]()
    wait = _waiting(clock, 1, lambda: None)
    ProgressLines("loading", 0, written.append, every=25, clock=clock, wait=wait).tell()
    assert ["injectivity: loading: 25 s so far"] == written


def test_a_label_stays_on_one_line() -> None:
    """A model's name is not to be trusted with a log."""
    clock = Clock()
    line = ProgressLines("loading a\n##[error]b", 0, print, clock=clock).line
    assert 1 == len(line.splitlines())


def test_the_thread_ends_with_the_work() -> None:
    """No line is written once the context is left."""
    before = set(threading.enumerate())  # of which any may end meanwhile
    with ProgressLines("loading", 0, print, every=1000).telling():
        (begun,) = set(threading.enumerate()) - before
        assert begun.is_alive()
    assert not begun.is_alive()


def test_a_line_never_says_more_than_all() -> None:
    """Neither more steps than there are, nor time left that is negative."""
    lines = ProgressLines("hidden states", 12, lambda _line: None, clock=Clock())
    lines.advance(13)
    assert "injectivity: hidden states: 12 of 12, 0 s so far" == lines.line
