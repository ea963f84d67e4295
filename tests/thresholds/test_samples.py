"""Samples of prompts that thresholds are measured on."""

import pytest

from pytest_injectivity.errors import PromptError
from pytest_injectivity.prompts.promptset import PromptSet
from pytest_injectivity.thresholds.samples import draw_samples


def prompts(n: int) -> PromptSet:
    """A set of so many prompts."""
    return PromptSet("set", tuple((at, 1) for at in range(n)), None, special_tokens=False)


def test_samples_are_disjoint_and_none_is_judged() -> None:
    """Where the pool has enough beside those that the gate judges."""
    pool = prompts(100)
    judged = pool.take(range(40), "judged")
    found = draw_samples(pool, judged, number=3, size=20, seed=0)
    drawn = [ids for one in found.sets for ids in one.ids]
    assert [20, 20, 20] == [len(one) for one in found.sets]
    assert 60 == len(set(drawn))
    assert not set(drawn) & set(judged.ids)
    assert found.apart
    assert (20, 40, 1.0) == (found.size, found.judged, found.doublings)
    together = PromptSet("all", tuple(drawn), None, special_tokens=False)
    assert together.hash == found.hash


def test_a_pool_of_judged_prompts_alone_is_cut_in_parts() -> None:
    """And said to be the same prompts; the samples are smaller than what is judged."""
    pool = prompts(99)
    found = draw_samples(pool, pool, number=3, size=1000, seed=0)
    assert [33, 33, 33] == [len(one) for one in found.sets]
    assert 99 == len({ids for one in found.sets for ids in one.ids})
    assert not found.apart


def test_samples_depend_on_the_seed_and_not_on_the_order() -> None:
    """As every sample."""
    pool = prompts(60)
    back = pool.take(range(59, -1, -1), "back")
    one, same, other = (
        [set(part.ids) for part in draw_samples(source, pool, number=2, size=10, seed=seed).sets]
        for source, seed in ((pool, 0), (back, 0), (pool, 1))
    )
    assert one == same
    assert one != other


def test_samples_as_large_as_the_gates_set_leave_no_doubling() -> None:
    """Nor do larger ones."""
    pool = prompts(300)
    found = draw_samples(pool, pool.take(range(20), "few"), number=2, size=100, seed=0)
    assert 0.0 == found.doublings


def test_too_few_prompts_are_refused() -> None:
    """The error says how many there are."""
    with pytest.raises(PromptError, match="set has 20 prompts: 3 samples need 8 each"):
        draw_samples(prompts(20), prompts(20), number=3, size=100, seed=0)
