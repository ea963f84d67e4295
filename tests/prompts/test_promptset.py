"""Tests of the prompt set."""

import hashlib
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.errors import OptionError, PromptError
from pytest_injectivity.prompts.metrics import PromptMetric
from pytest_injectivity.prompts.promptset import PromptSet, prompt_hash

rows = st.lists(
    st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=5).map(tuple),
    min_size=2,
    max_size=12,
    unique=True,
)


def prompts_of(ids: list[tuple[int, ...]]) -> PromptSet:
    return PromptSet("set", tuple(ids), None, special_tokens=False)


def test_prompt_hash_is_of_little_endian_int64() -> None:
    """The hash of a prompt is defined byte by byte, so that it is the same everywhere."""
    expected = hashlib.sha256(bytes([1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0])).hexdigest()

    assert expected == prompt_hash((1, 512))


def test_set_hash_is_of_the_sorted_prompt_hashes() -> None:
    """The hash of a set is SHA-256 over the sorted hex hashes of its prompts."""
    prompts = prompts_of([(1,), (2,)])
    expected = hashlib.sha256("".join(sorted([prompt_hash((1,)), prompt_hash((2,))])).encode())

    assert expected.hexdigest() == prompts.hash


@given(rows, st.randoms())
def test_hash_and_subsets_ignore_order(ids: list[tuple[int, ...]], random: Random) -> None:
    """Shuffling the prompts changes neither the hash nor which prompts a subset has."""
    shuffled = random.sample(ids, len(ids))
    half = max(1, len(ids) // 2)

    assert prompts_of(ids).hash == prompts_of(shuffled).hash
    assert prompts_of(ids).subset(half).hash == prompts_of(shuffled).subset(half).hash


@given(rows)
def test_hash_sees_every_prompt(ids: list[tuple[int, ...]]) -> None:
    """A set without one of its prompts has another hash."""
    assert prompts_of(ids).hash != prompts_of(ids[1:]).hash


def test_hash_sees_where_a_prompt_ends() -> None:
    """Two sets with the same tokens cut differently have different hashes."""
    assert prompts_of([(1, 2), (3,)]).hash != prompts_of([(1,), (2, 3)]).hash


def test_subset_takes_the_smallest_hashes_in_file_order() -> None:
    """A subset holds the prompts with the smallest hashes and keeps the order of the set."""
    prompts = prompts_of([(i,) for i in range(50)])
    smallest = sorted(prompts.ids, key=prompt_hash)[:10]

    subset = prompts.subset(10)

    assert tuple(sorted(smallest)) == subset.ids


@given(rows)
def test_subsets_are_nested(ids: list[tuple[int, ...]]) -> None:
    """A smaller subset is part of a larger one, so that a trend adds prompts only."""
    prompts = prompts_of(ids)
    subsets = [set(prompts.subset(n).ids) for n in range(1, len(ids) + 1)]

    assert all(small < large for small, large in pairwise(subsets))


def test_subset_of_all_is_the_set() -> None:
    """The subset of as many prompts as there are is the set itself."""
    prompts = prompts_of([(1,), (2,)])

    assert prompts.subset(2) is prompts


def test_subset_keeps_parallel_fields_together() -> None:
    """Texts, kinds and bases follow their prompts into a subset."""
    ids = tuple((i,) for i in range(20))
    names = tuple(str(i) for i in range(20))
    prompts = PromptSet("set", ids, names, special_tokens=True, kinds=names, bases=names)

    subset = prompts.subset(7)

    expected = tuple(str(i) for (i,) in subset.ids)
    assert (expected,) * 3 == (subset.texts, subset.kinds, subset.bases)


@pytest.mark.parametrize("n", [0, -1, 3])
def test_subset_out_of_range(n: int) -> None:
    """A subset of no prompt, or of more than there are, is refused with the range."""
    with pytest.raises(PromptError, match=rf"no subset of {n} prompts: give 1 to 2"):
        prompts_of([(1,), (2,)]).subset(n)


SHARED = tuple(range(10))


def test_prompts_that_begin_alike_are_one_prompt_after_the_cut() -> None:
    """Twenty prompts with a long common beginning are one prompt, not twenty."""
    prompts = prompts_of([(*SHARED, at) for at in range(20)] + [(1, *SHARED)])

    sample = prompts.sample(2, tokens=10)

    assert {SHARED, (1, *SHARED[:9])} == set(sample.ids)
    assert (2, 2) == (len(sample), sample.available)


@given(rows, st.integers(1, 5))
def test_a_sample_is_distinct_and_of_smallest_hash(ids: list[tuple[int, ...]], cut: int) -> None:
    """Of the prompts that are cut alike the one of smallest hash stands for all."""
    prompts = prompts_of(ids)
    beginnings = {one[:cut] for one in ids if len(one) >= cut}
    smallest = [min(prompt_hash(i) for i in ids if i[:cut] == one) for one in beginnings]

    sample = prompts.sample(len(ids), cut, at_least=0)

    assert beginnings == set(sample.ids)
    assert len(beginnings) == len(sample) == sample.available
    assert sorted(smallest) == [prompts.hashes[at] for at in sample.prompts]
    assert [ids[at][:cut] for at in sample.prompts] == list(sample.ids)


@given(rows, st.randoms())
def test_samples_are_nested_and_ignore_order(ids: list[tuple[int, ...]], random: Random) -> None:
    """A smaller sample begins a larger one; shuffling the prompts changes neither."""
    sets = [prompts_of(ids), prompts_of(random.sample(ids, len(ids)))]
    every = [[one.sample(n, 1, at_least=0).ids for n in range(1, len(ids) + 1)] for one in sets]

    assert every[0] == every[1]
    assert all(larger[: len(small)] == small for small, larger in pairwise(every[0]))


def test_prompts_that_differ_after_the_cut_are_sampled_as_by_their_hashes() -> None:
    """Where nothing is a copy, the sample is the prompts of smallest hash, cut."""
    prompts = prompts_of([(at, 7, at) for at in range(30)])
    ranked = sorted(range(30), key=prompts.hashes.__getitem__)

    sample = prompts.sample(10, 2)

    assert tuple(ranked[:10]) == sample.prompts
    assert tuple((at, 7) for at in ranked[:10]) == sample.ids
    assert 30 == sample.available


@pytest.mark.parametrize(
    ("n", "tokens", "there"),
    [(3, 2, 2), (1, 5, 0), (0, 2, 2), (-1, 2, 2), (1, 0, 0), (1, -1, 0)],
)
def test_a_sample_that_cannot_be_had_is_refused(n: int, tokens: int, there: int) -> None:
    """With what was asked for and how many there are."""
    prompts = prompts_of([(1, 2, 3), (1, 2, 4), (5, 6), (9,)])
    said = rf"{n} prompts of {tokens} tokens were asked for, and {there} of 4 .* both at least 1"

    with pytest.raises(OptionError, match=said):
        prompts.sample(n, tokens)


@pytest.mark.parametrize(("at_least", "found"), [(0, 2), (1, 2), (2, 2)])
def test_fewer_are_accepted_down_to_a_number(at_least: int, found: int) -> None:
    """The caller says how few are still of use."""
    prompts = prompts_of([(1, 2, 3), (1, 2, 4), (5, 6), (9,)])

    assert found == len(prompts.sample(50, 2, at_least=at_least))


def test_too_few_for_the_number_still_of_use_are_refused() -> None:
    """Two distinct beginnings are not three."""
    prompts = prompts_of([(1, 2, 3), (1, 2, 4), (5, 6), (9,)])

    with pytest.raises(OptionError, match="50 prompts of 2 tokens were asked for, and 2 of 4"):
        prompts.sample(50, 2, at_least=3)


def test_lengths() -> None:
    """Lengths count tokens, cannot be written to, and the longest is their maximum."""
    prompts = prompts_of([(1, 2, 3), (4,)])

    assert [3, 1] == prompts.lengths.tolist()
    assert np.int64 == prompts.lengths.dtype
    assert not prompts.lengths.flags.writeable
    assert (3, 2) == (prompts.longest, len(prompts))


def test_equality_is_by_value() -> None:
    """Sets with the same content are equal, and unequal where the ids differ."""
    assert prompts_of([(1,), (2,)]) == prompts_of([(1,), (2,)])
    assert prompts_of([(1,), (2,)]) != prompts_of([(1,), (3,)])


@pytest.mark.parametrize(
    ("ids", "texts", "message"),
    [
        (((1,), ()), None, "prompt 1 has no token ids"),
        (((1,), (1,)), None, "equal token ids"),
        (((1,), (2,)), ("a",), "1 texts for 2 prompts"),
    ],
)
def test_broken_sets_are_refused(
    ids: tuple[tuple[int, ...], ...], texts: tuple[str, ...] | None, message: str
) -> None:
    """A set never holds an empty prompt, one twice, or a text without a prompt."""
    with pytest.raises(PromptError, match=message):
        PromptSet("set", ids, texts, special_tokens=False)


def test_a_set_without_prompts_is_refused() -> None:
    """Nothing can be compared in it."""
    with pytest.raises(PromptError, match="set has no prompts: give at least one"):
        prompts_of([])


def test_what_is_known_of_pairs_is_shared() -> None:
    """By all who measure one set by one metric."""
    prompts = PromptSet("three", ((1, 2), (1, 3), (4,)), None, special_tokens=False)
    found = prompts.distances(PromptMetric.LEVENSHTEIN)
    assert prompts.distances(PromptMetric.LEVENSHTEIN) is found
    assert prompts.distances(PromptMetric.HAMMING) is not found
