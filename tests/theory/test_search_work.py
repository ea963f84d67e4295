"""The work of searches for a collision, counted."""

from dataclasses import replace

import pytest

from pytest_injectivity.testing import tiny_decoder
from pytest_injectivity.theory.discriminant import colliding_change
from pytest_injectivity.theory.linearization import Linearization
from pytest_injectivity.theory.search_work import HELD_BYTES, MOST_STEPS, STEPS, SearchWork

WORK = SearchWork(4, 128, 2048, 1_088_256, 793_088, "all", roundings=2)


def _over(over: str | int) -> SearchWork:
    return replace(WORK, over=over)


def test_a_deeper_layer_takes_more() -> None:
    """As many times as it is deeper, where all blocks below it may change."""
    assert pytest.approx(4 * WORK.step(1, 16).tokens) == WORK.step(4, 16).tokens
    assert WORK.step(4, 16) == WORK.step("norm", 16)


def test_weights_that_may_not_change_take_less() -> None:
    """Derivatives go back to the first of the others alone."""
    tokens = [_over(over).step(4, 16).tokens for over in ("all", "embedding", "block")]
    assert sorted(tokens, reverse=True) == tokens
    assert _over("block").step(4, 16) == _over(4).step(4, 16)
    assert _over(2).step(4, 16).tokens > _over(4).step(4, 16).tokens


def test_derivatives_that_are_not_held_at_once_are_taken_again() -> None:
    """Two pairs of prompts twice as long take more than twice the work."""
    wide = replace(WORK, hidden=1024, block_parameters=50_000_000)
    assert wide.step(1, 64).tokens > 3 * wide.step(1, 32).tokens


def test_memory_holds_copies_of_what_may_change() -> None:
    """Of one tensor at least as many derivatives as fit, and never more than may be held."""
    assert max(_over("embedding").bytes, _over("block").bytes) < WORK.bytes
    more = replace(WORK, roundings=3).bytes - WORK.bytes
    assert 8 * (793_088 + 2048 * 128) == more
    huge = replace(WORK, block_parameters=10**9, parameters=2 * 10**9)
    assert HELD_BYTES == huge.bytes - 8 * (2 * 10**9 + 7 * 10**9 + 5 * 2048 * 128)


def test_a_search_takes_no_more_steps_than_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights are linearized as they are and after each step."""
    views = []
    of = Linearization.of

    def counted(self: Linearization, *given: object) -> object:
        views.append(given)
        return of(self, *given)  # type: ignore[arg-type] # whatever it is given

    monkeypatch.setattr(Linearization, "of", counted)
    found = colliding_change(
        tiny_decoder("gpt2", hidden=8).as_float64(), ([1, 2], [1, 3]), 1, "embedding"
    )
    assert found.steps + 1 == len(views)
    assert STEPS[0] < found.steps <= STEPS[-1] == MOST_STEPS
