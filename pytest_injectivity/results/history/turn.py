"""Verdicts that turned red: what the last run did not pass, and an earlier run did."""

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_injectivity.results.changes import label_depth
from pytest_injectivity.results.history.course import BEFORE
from pytest_injectivity.results.history.past_run import Judged
from pytest_injectivity.results.history.track import Track
from pytest_injectivity.results.verdict import Status


@dataclass(frozen=True)
class Turn:
    """What verdicts said of one place over the runs, where that changed for the worse.

    Attributes:
        check: the name of the check.
        where: the layer, release or field.
        status: the last run's; None where it did not judge this.
        last_passed: the place among the runs of the last one that passed.
    """

    check: str
    where: str
    status: Status | None
    last_passed: int


def turns(track: Track) -> tuple[Turn, ...]:
    """Verdicts of the last run that are red and were PASS; those that it lacks and most runs have."""
    every = dict.fromkeys(key for model in track.models for key in model.judged)
    found = []
    for check, where in sorted(every, key=lambda key: (key[0], label_depth(key[1]))):
        courses = [model.judged.get((check, where)) for model in track.models]
        passed = [at for at, one in enumerate(courses) if one and one.status is Status.PASS]
        if not passed or passed[-1] == len(courses) - 1:
            continue
        last = courses[-1]
        if last is not None or _usual(courses[:-1]):
            found.append(Turn(check, where, last.status if last else None, passed[-1]))
    return tuple(found)


def _usual(before: Sequence[Judged | None]) -> bool:
    window = before[-BEFORE:]
    return 2 * sum(one is not None for one in window) > len(window)
