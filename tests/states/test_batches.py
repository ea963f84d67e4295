"""Which prompts share a pass, and that sharing one changes no bit of a row."""

import random
from collections.abc import Callable, Sequence
from math import gcd

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.batches import Batch, padded_length, plan_batches
from pytest_injectivity.testing import tiny_decoder

# Many at the end of the context, where an odd one leaves no canonical width.
lengths = st.lists(st.integers(1, 300) | st.integers(290, 300), min_size=1, max_size=80)


@st.composite
def plans(draw: st.DrawFn) -> tuple[list[int], int, int | None, int]:
    """Lengths, tokens a pass, a context that holds the longest, a prefix."""
    chosen = draw(lengths)
    prefix = draw(st.sampled_from([0, 0, 16, 37, 160]))
    slack = draw(st.none() | st.integers(0, 40))
    context = None if slack is None else prefix + max(chosen) + slack
    return chosen, draw(st.sampled_from([1, 64, 500, 4096])), context, prefix


def plan(case: tuple[list[int], int, int | None, int]) -> tuple[Batch, ...]:
    """`plan_batches` of a case; at least one batch."""
    chosen, batch_tokens, context, prefix = case
    batches = plan_batches(chosen, batch_tokens=batch_tokens, context=context, prefix=prefix)
    assert batches
    return batches


@given(case=plans())
def test_every_prompt_is_in_one_batch(case: tuple[list[int], int, int | None, int]) -> None:
    """Once, whatever the limits are."""
    rows = [row for batch in plan(case) for row in batch.rows]
    assert list(range(len(case[0]))) == sorted(rows)


@given(case=plans())
def test_no_batch_exceeds_the_context(case: tuple[list[int], int, int | None, int]) -> None:
    """Padding included; every prompt fits its batch."""
    chosen, _, context, prefix = case
    batches = plan(case)
    assert [] == [b for b in batches if max(chosen[row] for row in b.rows) > b.width]
    assert context is None or prefix + max(batch.width for batch in batches) <= context


@given(case=plans())
def test_shapes_are_canonical_where_the_context_allows(
    case: tuple[list[int], int, int | None, int],
) -> None:
    """A multiple of 16 tokens; a prompt that fills an odd context runs alone, always so."""
    chosen, _, context, prefix = case
    odd = [batch for batch in plan(case) if batch.height * batch.width % 16]
    assert {(context or 0) - prefix} >= {batch.width for batch in odd}
    assert {(1, 1)} >= {(len(batch.rows), batch.height) for batch in odd}
    assert [] == [batch for batch in odd if batch.width // 8 * 8 >= chosen[batch.rows[0]]]


@given(case=plans())
def test_a_batch_holds_the_tokens_it_may(case: tuple[list[int], int, int | None, int]) -> None:
    """Dummy rows included, but for the few that make the least shape canonical."""
    _, batch_tokens, _, prefix = case

    def most(batch: Batch) -> int:
        least = 16 // gcd(16, batch.width) if batch.width % 8 == 0 else 1
        return max(least, batch_tokens // (prefix + batch.width))

    assert [] == [batch for batch in plan(case) if batch.height > most(batch)]


@given(case=plans())
def test_a_prompt_has_the_same_width_in_any_company(
    case: tuple[list[int], int, int | None, int],
) -> None:
    """So that its bits depend on itself: planned alone, it is padded to the same length."""
    chosen, *limits = case
    widths = {row: batch.width for batch in plan(case) for row in batch.rows}
    alone = {row: plan(([length], *limits))[0].width for row, length in enumerate(chosen)}
    assert alone == widths


@given(case=plans())
def test_the_longest_run_first(case: tuple[list[int], int, int | None, int]) -> None:
    """Memory runs out at the start or not at all."""
    widths = [batch.width for batch in plan(case)]
    assert sorted(widths, reverse=True) == widths


@pytest.mark.parametrize(
    ("length", "padded"),
    [
        (1, 8),
        (8, 8),
        (9, 16),
        (255, 256),
        (256, 256),
        (257, 272),
        (512, 512),
        (513, 544),
        (1024, 1024),
        (1025, 1088),
    ],
)
def test_buckets_of_lengths(length: int, padded: int) -> None:
    """Multiples of 8 up to 256, then 16 to every doubling."""
    assert padded == padded_length(length)


@given(length=st.integers(1, 10**6))
def test_padding_wastes_little(length: int) -> None:
    """At most 7 tokens, or a sixteenth."""
    padded = padded_length(length)
    assert length <= padded <= max(length + 7, length * 17 / 16)
    assert padded == padded_length(padded)
    assert 0 == padded % 8


def test_halves_are_the_same_prompts() -> None:
    """At the same width, in the same order."""
    left, right = Batch((5, 2, 9), 32).halves()
    assert ((5,), (2, 9)) == (left.rows, right.rows)
    assert (32, 32) == (left.width, right.width)


def test_ids_are_padded_on_the_right_with_a_token_of_the_model() -> None:
    """Rows in their order, dummies after them, the last token of each where it is said to be."""
    prompts = [[7], [1, 2, 3], [4] * 8, [5]]
    batch = Batch((1, 2, 3), 8)
    ids = batch.ids(prompts)
    assert (4, 8) == tuple(ids.shape)
    assert [1, 2, 3] == ids[0, :3].tolist()
    assert [4] * 8 == ids[1].tolist()
    assert set(ids.flatten().tolist()) == {1, 2, 3, 4, 5}
    assert [2, 7, 0, 0] == batch.last_positions(prompts).tolist()


def some_prompts(n: int, longest: int, vocab: int, seed: int) -> list[list[int]]:
    """Random prompts of 1 to ``longest`` tokens."""
    generator = random.Random(seed)  # noqa: S311 - no cryptography
    return [
        [generator.randrange(vocab) for _ in range(generator.randint(1, longest))] for _ in range(n)
    ]


def last_rows(decoder: Decoder, prompts: Sequence[Sequence[int]], tokens: int) -> Tensor:
    """The last-token rows at all layers, one pass after another as planned."""
    found = torch.empty(len(prompts), len(decoder.layers), decoder.hidden_size, dtype=decoder.dtype)
    batches = plan_batches(
        [len(prompt) for prompt in prompts], batch_tokens=tokens, context=decoder.context
    )
    for batch in batches:
        states = decoder.states(
            batch.ids(prompts), decoder.layers, positions=batch.last_positions(prompts)
        )
        for at, layer in enumerate(decoder.layers):
            found[list(batch.rows), at] = states[layer][: len(batch.rows)]
    return found


def assert_bits_are_their_own(decoder: Decoder, prompts: list[list[int]]) -> None:
    """A prompt's rows are the same bits alone, in other company, and in other batch sizes."""
    expected = last_rows(decoder, prompts, 4096)
    order = random.Random(0).sample(range(len(prompts)), len(prompts))  # noqa: S311 - as above
    for tokens in (64, 700):
        shuffled = last_rows(decoder, [prompts[row] for row in order], tokens)
        assert torch.equal(expected[order], shuffled)
    for row in order[:5]:
        assert torch.equal(expected[row], last_rows(decoder, [prompts[row]], 4096)[0])


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("context", [64, 57])
@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3", "gpt_neox"])
def test_a_rows_bits_do_not_depend_on_its_neighbors(family: str, context: int) -> None:
    """In real decoders, to the last bit, at every layer; 57 is no multiple of 16."""
    decoder = tiny_decoder(family, hidden=128, context=context)
    assert_bits_are_their_own(decoder, some_prompts(60, context, decoder.vocab_size, 1))


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 40))
def test_a_rows_bits_do_not_depend_on_any_neighbors(seed: int, n: int) -> None:
    """Whatever the prompts are."""
    decoder = tiny_decoder("llama", hidden=128, context=64)
    assert_bits_are_their_own(decoder, some_prompts(n, 64, decoder.vocab_size, seed))


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", ["gpt2-1m", "qwen3-1m", "slm4096-gpt2", "stories260k-llama"])
def test_a_rows_bits_do_not_depend_on_its_neighbors_in_a_trained_model(
    name: str, shared_decoder: Callable[[str], Decoder]
) -> None:
    """Of the shapes that models in use have."""
    decoder = shared_decoder(name)
    prompts = some_prompts(30, min(decoder.context or 128, 128), decoder.vocab_size, 2)
    assert_bits_are_their_own(decoder, prompts)


def test_real_places_hold_the_tokens_of_prompts() -> None:
    """Neither padding nor a dummy row does."""
    prompts = [[1], [2, 3, 4], [5, 6]]
    batch = Batch((2, 0), 4)
    real = batch.real(prompts)
    assert real.tolist()[:2] == [[True, True, False, False], [True, False, False, False]]
    assert not real[2:].any()
    assert batch.ids(prompts)[real].tolist() == [5, 6, 1]
