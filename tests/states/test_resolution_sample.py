"""What a resolution is measured on: enough of it, two parts apart, the same each time."""

from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.states.resolution_sample import SampleSize, choose_sample

PROMPTS = st.lists(
    st.lists(st.integers(0, 30), min_size=1, max_size=40).map(tuple), min_size=1, max_size=40
)


@given(prompts=PROMPTS, context=st.none() | st.integers(40, 80), vocab=st.integers(31, 5000))
def test_every_part_is_filled(
    prompts: list[tuple[int, ...]], context: int | None, vocab: int
) -> None:
    """Both parts have their positions, single tokens are drawn once, and none is in two parts."""
    size = SampleSize(positions=50, held_out=100, singles=8, held_out_singles=64)
    sample = choose_sample(prompts, vocab, context, size=size)
    every = (*sample.prompts, *sample.held_out)
    assert sum(len(one) - 1 for one in sample.prompts) >= 50
    assert sum(len(one) - 1 for one in sample.held_out) >= 100
    assert min(map(len, every)) > 1
    assert max(map(len, every)) <= (context or 64)
    singles = (*sample.singles, *sample.held_out_singles)
    assert len(set(singles)) == len(singles) == min(vocab, 72)
    assert set(singles) <= set(range(vocab))
    assert (16, 36) == (len(sample.windows), len(sample.held_out_windows))
    assert {16} == {len(one) for one in (*sample.windows, *sample.held_out_windows)}
    assert sample == choose_sample(prompts, vocab, context, size=size)


def test_whole_prompts_take_turns() -> None:
    """The first of them make the scale, the second measure the radius, and the last one is cut."""
    prompts = [(at,) * 11 for at in range(8)]
    sample = choose_sample(prompts, 64, None, size=SampleSize(positions=30, held_out=24))
    assert tuple(prompts[::2][:3]) == sample.prompts
    assert (prompts[1], prompts[3], prompts[5][:5]) == sample.held_out


def test_a_large_set_takes_a_share() -> None:
    """Of the tokens of the set, up to a number of positions, 99 a prompt."""
    prompts = [tuple(range(100))] * 1000
    size = SampleSize(positions=10, held_out=10, share=1 / 100, most=1500, prompts=100)
    sample = choose_sample(prompts, 100, None, size=size)
    assert (11, 16) == (len(sample.prompts), len(sample.held_out))


def test_one_token_of_vocabulary_serves_both_parts() -> None:
    """There is no other."""
    sample = choose_sample([(0,)], 1, None)
    assert (0,) == sample.singles == sample.held_out_singles


def test_half_of_the_windows_begin_prompts() -> None:
    """The others are cut where the draw says, and are parts of their prompts all the same."""
    prompts = [tuple(range(100 * at, 100 * at + 50)) for at in range(12)]
    sample = choose_sample(prompts, 1200, None, size=SampleSize(windows=4, held_out_windows=6))
    starts = [one[0] % 100 for one in (*sample.windows, *sample.held_out_windows)]
    assert [0] * 5 == [*starts[:4:2], *starts[4::2]]
    assert len({*starts[1:4:2], *starts[5::2]} - {0}) > 1
    every = (*sample.windows, *sample.held_out_windows)
    assert [True] * 10 == [
        one in {p[at : at + 16] for p in prompts for at in range(35)} for one in every
    ]


def test_windows_are_no_longer_than_the_context() -> None:
    """A model of four positions is measured on windows of four tokens."""
    sample = choose_sample([(1, 2, 3)], 8, 4)
    assert {4} == {len(one) for one in (*sample.windows, *sample.held_out_windows)}
