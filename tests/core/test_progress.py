"""How many steps of a piece of work are done."""

from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.core.progress import UNCOUNTED, Steps

counts = st.lists(st.integers(-5, 100), min_size=1)


@given(total=st.integers(1, 50), told=counts)
def test_steps_are_never_more_than_there_are(total: int, told: list[int]) -> None:
    """Nor fewer than before, whatever is told."""
    steps, seen = Steps(total), [0]
    for done in told:
        steps.advance(done)
        seen.append(steps.done)
    assert sorted(seen) == seen
    assert min(max(0, *told), total) == steps.done


@given(told=counts)
def test_uncounted_steps_have_no_end(told: list[int]) -> None:
    """They are only counted."""
    steps = Steps(UNCOUNTED)
    for done in told:
        steps.advance(done)
    assert max(0, *told) == steps.done
