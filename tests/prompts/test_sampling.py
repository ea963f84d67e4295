"""Tests of the sieve."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.errors import PromptError
from pytest_injectivity.prompts.place import Place
from pytest_injectivity.prompts.promptset import PromptSet, prompt_hash
from pytest_injectivity.prompts.sampling import Sieve, salted
from pytest_injectivity.prompts.settings import Settings

ids = st.lists(st.integers(0, 3), min_size=1, max_size=3).map(tuple)


def sifted(rows: list[tuple[int, ...]], settings: Settings) -> PromptSet:
    sieve = Sieve(settings)
    for row in rows:
        sieve.rows += 1
        sieve.offer(row, None, Place("set", "row", sieve.rows))
    return sieve.prompt_set("set", special_tokens=False)


@given(st.lists(ids, min_size=1).filter(lambda rows: len(set(rows)) > 1))
def test_distinct_prompts_in_the_order_of_their_first(rows: list[tuple[int, ...]]) -> None:
    """What is kept is each prompt's first occurrence; the rest is counted."""
    prompts = sifted(rows, Settings())

    assert tuple(dict.fromkeys(rows)) == prompts.ids
    assert len(rows) - len(set(rows)) == prompts.dropped_duplicates


@given(st.integers(2, 30), st.integers(0, 5), st.randoms())
def test_the_sample_does_not_depend_on_order(size: int, seed: int, random: Random) -> None:
    """A shuffled source gives the same sample: the prompts with the smallest salted hashes."""
    rows = [(i, i * i) for i in range(40)]
    shuffled = random.sample(rows, len(rows))
    expected = sorted(rows, key=lambda row: salted(seed, prompt_hash(row)))[:size]

    prompts = sifted(shuffled, Settings(max_prompts=size, seed=seed))

    assert set(expected) == set(prompts.ids)
    assert [row for row in shuffled if row in expected] == list(prompts.ids)
    assert len(rows) - size == prompts.left_out


def test_samples_are_nested() -> None:
    """A smaller sample of a seed is part of a larger one."""
    rows = [(i,) for i in range(100)]
    small, large = (set(sifted(rows, Settings(max_prompts=n, seed=3)).ids) for n in (10, 30))

    assert small < large


def test_another_seed_is_another_sample() -> None:
    """The seed decides the sample."""
    rows = [(i,) for i in range(100)]
    first, second = (set(sifted(rows, Settings(max_prompts=10, seed=s)).ids) for s in (0, 1))

    assert first != second


def test_duplicates_of_what_was_left_out_are_counted() -> None:
    """A prompt seen before is a duplicate even if the sample has let go of it."""
    rows = [(i,) for i in range(10)] * 2

    prompts = sifted(rows, Settings(max_prompts=2))

    assert (10, 8) == (prompts.dropped_duplicates, prompts.left_out)


def test_overlong_prompts_are_refused_with_their_number() -> None:
    """The refusal says how many, the longest, the context and the flag that drops them."""
    rows = [(1,), (2,), (1, 2, 3), (1, 2, 3, 4)]

    with pytest.raises(
        PromptError, match=r"2 of its prompts .* context of 2 .* longest has 4.*drop"
    ):
        sifted(rows, Settings(context=2))


def test_overlong_prompts_are_dropped_and_counted() -> None:
    """A prompt as long as the context stays; a longer one is dropped, never cut."""
    rows = [(1,), (1, 2), (1, 2, 3)]

    prompts = sifted(rows, Settings(context=2, overlong="drop"))

    assert ((1,), (1, 2)) == prompts.ids
    assert 1 == prompts.dropped_overlong


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(1,)], "set: 1 distinct of 1 prompts read: dropped 0 as duplicates"),
        ([(1,)] * 5, "1 distinct of 5 prompts read: dropped 4 as duplicates"),
        ([(1,), (1, 2, 3)], "1 distinct of 2 .* 1 as longer than the context"),
        ([(1, 2, 3)] * 2, "0 distinct of 2 .* 2 as longer"),
    ],
)
def test_fewer_than_two(rows: list[tuple[int, ...]], message: str) -> None:
    """Fewer than two distinct prompts are refused with what became of the others."""
    with pytest.raises(PromptError, match=message):
        sifted(rows, Settings(context=2, overlong="drop"))


def test_ids_outside_the_embedding() -> None:
    """An id without an embedding row is refused by name; the last row's is accepted."""
    with pytest.raises(
        PromptError,
        match=r"prompt 1 \(set, row 2\): token id 5 .* 5 rows \(ids 0 to 4\).* do not fit",
    ):
        sifted([(1, 4), (1, 5)], Settings(vocab_size=5))
