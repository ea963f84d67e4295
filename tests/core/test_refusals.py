"""Tests of refusals that are remembered."""

import pytest

from pytest_injectivity.core.refusals import refusing_again
from pytest_injectivity.errors import ModelError, PromptError


def test_what_is_refused_once_is_refused_again_without_an_attempt() -> None:
    """The same error is raised, and its traceback does not grow."""
    tried: list[int] = []

    def refuse() -> None:
        tried.append(1)
        raise PromptError("no such file")

    make = refusing_again(refuse)
    caught = []
    for _ in range(3):
        with pytest.raises(PromptError, match="no such file") as error:
            make()
        caught.append(error)
    assert [1] == tried
    assert 1 == len({one.value for one in caught})
    assert len(caught[2].traceback) == len(caught[1].traceback)


def test_what_is_made_is_made_anew() -> None:
    """Nothing but a refusal is remembered."""
    made = iter([1, 2])
    make = refusing_again(lambda: next(made))
    assert [1, 2] == [make(), make()]


def test_other_errors_are_not_remembered() -> None:
    """A key pressed, or memory that ran out, may be otherwise the next time."""
    outcomes: list[Exception | str] = [MemoryError(), "made"]

    def make() -> str:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    again = refusing_again(make)
    with pytest.raises(MemoryError):
        again()
    assert "made" == again()


def test_refusals_are_remembered_apart() -> None:
    """One function's refusal is not another's."""

    def refuse(error: Exception) -> None:
        raise error

    first = refusing_again(lambda: refuse(PromptError("a")))
    second = refusing_again(lambda: refuse(ModelError("b")))
    with pytest.raises(PromptError, match="a"):
        first()
    with pytest.raises(ModelError, match="b"):
        second()
