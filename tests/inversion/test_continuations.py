"""Every continuation of a prompt, against brute force over states that are known."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.errors import PromptError
from pytest_injectivity.inversion.continuation_search import ContinuationSearch
from pytest_injectivity.inversion.continuations import Continuations
from pytest_injectivity.inversion.token_classes import TokenClasses, token_classes
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.prompts.known_tokens import known_tokens
from pytest_injectivity.testing import (
    additive_decoder,
    byte_tokenizer,
    plant_equal_embeddings,
    tiny_decoder,
)
from tests import brute_force
from tests.executors import InTurn
from tests.shared_searches import same

IDS = (5, 1, 8, 8, 2)
LAYERS: tuple[Layer, ...] = (0, 1, 2, "norm")


def _search(decoder: Decoder, free: int = 2**30, rivals_at_once: int = 4096) -> ContinuationSearch:
    return ContinuationSearch(
        lambda: decoder, _each_alone(decoder), lambda: free, rivals_at_once=rivals_at_once
    )


def _each_alone(decoder: Decoder) -> Callable[[], TokenClasses]:
    """Every token in a class of its own, so that equal rows are left to the tables."""
    known = known_tokens(decoder.tokenizer, decoder.vocab_size)
    return lambda: TokenClasses(decoder.vocab_size, known, ())


def _additive(tokens: Tensor, rivals_at_once: int = 4096) -> ContinuationSearch:
    """Continuation v is row v of the table at each of the layers 0 to 2."""
    positions = torch.zeros(8, tokens.shape[1], dtype=tokens.dtype)
    return _search(additive_decoder(tokens, positions), rivals_at_once=rivals_at_once)


def _whole(decoder: Decoder, ids: Sequence[int], layer: Layer) -> Tensor:
    """The continuations' states by a pass over each whole prompt."""
    prompts = torch.tensor([[*ids, token] for token in range(decoder.vocab_size)])
    return decoder.states(prompts, [layer])[layer][:, -1]


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "mistral", "mamba"])
def test_all_pairs_are_those_of_whole_prompts(family: str) -> None:
    """Through the cached prefix, at each layer: the closest pair and each token's nearest rival."""
    decoder = tiny_decoder(family)
    every = _search(decoder).of(IDS, LAYERS)
    assert LAYERS == tuple(every)
    for layer, found in every.items():
        states = _whole(decoder, IDS, layer)
        nearest = brute_force.nearest(states)[0]
        assert nearest.min() == pytest.approx(found.minimum[0], rel=1e-4)
        distance, left, right = brute_force.near(states, 1e9)[0]
        assert (distance, (left, right)) == (pytest.approx(found.closest, rel=1e-4), found.pair)
        np.testing.assert_allclose(found.rivals, nearest, rtol=1e-4)
        assert (64, 0, 64 * 63 // 2, 0) == (
            found.compared,
            found.not_finite,
            found.pairs,
            found.collisions,
        )


@given(tokens=arrays(np.float32, (9, 8), elements=st.integers(0, 1).map(float)))
@settings(max_examples=25)
def test_equal_rows_and_ties_are_those_of_brute_force(tokens: np.ndarray) -> None:
    """Classes of equal continuations, and the closest of those that differ, first ids first."""
    rows = torch.from_numpy(tokens)
    found = _additive(rows).of(IDS, [1])[1]
    every = brute_force.near(rows, 1e9)
    apart = [pair for pair in every if pair[0] > 0]
    assert len(brute_force.colliding(rows)) == found.collisions
    assert (apart[0][0], apart[0][1:]) == (found.closest, found.pair) if apart else (math.inf, None)
    assert (every[0][0], tuple(every[0][1:])) == found.minimum
    assert found.rivals is not None
    assert brute_force.nearest(rows)[0].tolist() == found.rivals.tolist()
    members = [set(one.tolist()) for one in found.equal]
    for _, left, right in every[: found.collisions]:
        assert any({left, right} <= one for one in members)


@pytest.mark.parametrize("eps", [0.0, 1.0, 1.5, 2.0, 9.0])
@pytest.mark.parametrize("limit", [0, 2, 1000])
def test_pairs_within_eps_are_those_of_brute_force(eps: float, limit: int) -> None:
    """All are counted, the closest listed, by token."""
    rows = torch.randint(0, 3, (20, 8), generator=torch.Generator().manual_seed(1)).float()
    rows[7] = rows[11] = rows[3]
    found = _additive(rows).within(IDS, 2, eps, limit)
    expected = brute_force.near(rows, eps)
    assert len(expected) == found.count
    assert [distance for distance, _, _ in expected[:limit]] == found.distance.tolist()
    listed = set(zip(found.left.tolist(), found.right.tolist(), strict=True))
    assert min(limit, len(expected)) == len(listed)
    assert listed <= {(left, right) for _, left, right in expected}


def test_equal_embedding_rows_are_equal_continuations() -> None:
    """At every layer of a real block: one class of two, and the closest pair is another."""
    decoder = plant_equal_embeddings(tiny_decoder("qwen3"), kept=3, copied=40)
    every = _search(decoder).of(IDS, LAYERS)
    assert LAYERS == tuple(every)
    for found in every.values():
        assert [[3, 40]] == [members.tolist() for members in found.equal]
        assert (0.0, (3, 40)) == found.minimum
        assert found.closest > 0
        assert found.pair is not None
        assert 1 == found.collisions


def test_twins_are_continued_once() -> None:
    """One of each class of equal embedding rows; the table of the rows themselves holds all tokens."""
    decoder = plant_equal_embeddings(tiny_decoder("llama"), kept=3, copied=40)
    search = ContinuationSearch(lambda: decoder, lambda: token_classes(decoder), lambda: 2**30)
    found = search.of(IDS, [1])[1]
    nearest = brute_force.nearest(_whole(decoder, IDS, 1)[search.tokens(IDS)])[0]
    assert (63, 0) == (found.compared, found.collisions)
    assert nearest.min() == pytest.approx(found.closest, rel=1e-4)
    embedding = search.of(None, [0])[0]
    assert (64, [[3, 40]]) == (embedding.compared, [one.tolist() for one in embedding.equal])


def test_rows_beyond_the_tokenizer_are_left_out() -> None:
    """Padding of the embedding stands in no prompt: its equal rows are no collision."""
    decoder = tiny_decoder("llama", vocab=300, tokenizer=byte_tokenizer())
    decoder.parts.embeddings.weight[256:] = 0.0
    search = _search(decoder)
    found = search.of(IDS, [1])[1]
    assert list(range(256)) == search.tokens(IDS).tolist()
    assert (256, 0) == (found.compared, found.collisions)


def test_a_tokenizer_may_have_more_than_the_embedding() -> None:
    """Ids that the model does not take are no continuation."""
    search = _search(tiny_decoder(vocab=128, tokenizer=byte_tokenizer()))
    assert list(range(128)) == search.tokens(IDS).tolist()


def test_without_a_tokenizer_every_row_is_a_token() -> None:
    """Nothing is known of what is not."""
    search = _search(tiny_decoder())
    assert list(range(64)) == search.tokens(IDS).tolist()


def test_what_is_not_finite_is_counted_and_compared_with_nothing() -> None:
    """By token: the others keep their ids."""
    rows = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    rows[6] = rows[5]
    rows[2], rows[4, 1] = torch.nan, torch.inf
    search = _additive(rows)
    found = search.of((0, 1), [1])[1]
    assert (6, 2, [[5, 6]]) == (found.compared, found.not_finite, [m.tolist() for m in found.equal])
    kept = [0, 1, 3, 5, 6, 7]
    nearest = brute_force.nearest(rows[kept])[0]
    assert nearest.tolist() == search.rivals((0, 1), 1).tolist()
    assert search.within((0, 1), 1, 0.0, 9).left.tolist() == [5]


@pytest.mark.parametrize("finite", [0, 1])
def test_fewer_than_two_continuations_are_no_pair(finite: int) -> None:
    """No distance, no rival, no error."""
    rows = torch.full((3, 8), torch.nan)
    rows[:finite] = 1.0
    search = _additive(rows)
    found = search.of((0,), [1])[1]
    assert (0, math.inf, None, 0) == (found.pairs, *found.minimum, found.collisions)
    assert 0 == len(search.rivals((0,), 1))
    assert 0 == search.within((0,), 1, 1e9, 9).count


@pytest.mark.parametrize("at_once", [3, 4096])
def test_continuations_that_are_all_equal_are_one_class(at_once: int) -> None:
    """No two are apart: no closest pair but theirs, no rival but at distance 0."""
    search = _additive(torch.ones(5, 8), at_once)
    found = search.of((1, 2), [1])[1]
    assert ((0.0, (0, 1)), math.inf, None, 10) == (
        found.minimum,
        found.closest,
        found.pair,
        found.collisions,
    )
    assert [0.0] * 5 == search.rivals((1, 2), 1).tolist()


class Watched(ContinuationSearch):
    """Remembers which layers each pass was for."""

    passes: list[list[Layer]]

    def _tables(self, ids: tuple[int, ...] | None, layers: Sequence[Layer]) -> Any:
        self.passes = getattr(self, "passes", [])
        decoder = self._decoder()
        asked = decoder.candidates

        def candidates(prefix: Any, tokens: Tensor, group: Sequence[Layer], **how: Any) -> Any:
            self.passes.append(list(group))
            return asked(prefix, tokens, group, **how)

        decoder.candidates = candidates  # type: ignore[method-assign]
        yield from super()._tables(ids, layers)
        decoder.candidates = asked  # type: ignore[method-assign]


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma3_text"])
def test_the_empty_prompt_and_the_embedding_have_tables(family: str) -> None:
    """Every token put first, and every row as the model's embedding gives it, by brute force."""
    decoder = tiny_decoder(family)
    search = _search(decoder)
    for before, layer, rows in (
        ((), 2, _whole(decoder, (), 2)),
        (None, 0, decoder.embedding_matrix()),
    ):
        found = search.of(before, [layer])[layer]
        distance, left, right = brute_force.near(rows, 1e9)[0]
        assert (pytest.approx(distance, rel=1e-4), (left, right)) == (found.closest, found.pair)
        assert float(rows.double().norm(dim=1).mean()) == pytest.approx(found.mean_norm, rel=1e-6)
        near = search.within(before, layer, 1.01 * distance, 9)
        assert len(brute_force.near(rows, 1.01 * distance)) == near.count
        assert len(search.rivals(before, layer)) == 64


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma3_text", "mamba"])
def test_equal_tokens_have_equal_states(family: str) -> None:
    """Bit for bit, wherever in the vocabulary they stand: their classes are whole."""
    decoder = tiny_decoder(family, vocab=600)
    copies = (7, 130, 511, 512, 599)
    for copied in copies:
        plant_equal_embeddings(decoder, kept=3, copied=copied)
    found = [
        one for before in ((), IDS, None) for one in _search(decoder).of(before, LAYERS).values()
    ]
    classes = [[members.tolist() for members in one.equal] for one in found]
    assert [[[3, *copies]]] * 12 == classes


def _plain(found: dict[Layer, Continuations]) -> list[tuple[object, ...]]:
    return [(layer, one.minimum, one.compared) for layer, one in sorted(found.items(), key=str)]


def test_layers_go_in_groups_that_fit() -> None:
    """One pass for all where memory allows, one a layer where it does not; the same numbers."""
    decoder = tiny_decoder("llama", layers=3)
    layers: tuple[Layer, ...] = ("norm", 3, 1, 0)
    roomy, tight = (
        Watched(lambda: decoder, _each_alone(decoder), lambda f=free: f) for free in (2**30, 0)
    )
    expected = _plain(roomy.of(IDS, layers))
    assert [[0, 1, 3, "norm"]] == roomy.passes
    assert expected == _plain(tight.of(IDS, layers))
    assert [[0], [1], [3], ["norm"]] == tight.passes


def test_memory_bounds_the_group() -> None:
    """Two tables of 64 x 16 float32, each twice, and the working set of one: no third layer."""
    table = 64 * 16
    decoder = tiny_decoder("llama", layers=3)
    free = 2 * (2 * 2 * 4 + 32) * table
    search = Watched(lambda: decoder, _each_alone(decoder), lambda: free)
    search.of(IDS, [1, 2, 3])
    assert [[1, 2], [3]] == search.passes


def test_a_prompt_and_layer_is_searched_once() -> None:
    """Only the layers that are missing are computed; pairs apart need no second look."""
    decoder = tiny_decoder()
    search = Watched(lambda: decoder, _each_alone(decoder), lambda: 2**30)
    first = search.of(IDS, [1, 2])
    assert first[1] is search.of(IDS, [1, "norm"])[1]
    search.within(IDS, 1, 0.0, 10)
    assert [[1, 2], ["norm"]] == search.passes
    search.of((1, 2), [1])
    assert 3 == len(search.passes)


@pytest.mark.parametrize(("held_bytes", "passes"), [(64 * 16 * 4, 1), (64 * 16 * 4 - 1, 3)])
def test_the_last_table_is_looked_at_again_while_it_is_held(held_bytes: int, passes: int) -> None:
    """Pairs near each other and rivals are of the same table; a large one is computed anew."""
    decoder = tiny_decoder()
    search = Watched(
        lambda: decoder,
        _each_alone(decoder),
        lambda: 2**30,
        rivals_at_once=8,
        held_bytes=held_bytes,
    )
    closest = search.of(IDS, [2])[2].closest
    near, rivals = search.within(IDS, 2, 2 * closest, 99), search.rivals(IDS, 2)
    assert near.count
    assert closest == near.distance[0] == rivals.min()
    assert passes * [[2]] == search.passes


def test_another_table_takes_the_place_of_the_one_held() -> None:
    """Of a prompt or a layer that is not the last one nothing is taken for it."""
    decoder = tiny_decoder()
    search = Watched(lambda: decoder, _each_alone(decoder), lambda: 2**30, rivals_at_once=8)
    expected = [_search(decoder).rivals(*asked).tolist() for asked in ((IDS, 1), ((1, 2), 1))]
    search.of(IDS, [1])
    search.of((1, 2), [1])
    assert expected == [search.rivals(IDS, 1).tolist(), search.rivals((1, 2), 1).tolist()]


def test_large_vocabularies_have_rivals_on_request() -> None:
    """All nearest rivals cost more than the closest pair: they are not computed unasked."""
    rows = torch.randn(30, 8, generator=torch.Generator().manual_seed(2))
    at_once = _additive(rows).of(IDS, [1])[1]
    search = _additive(rows, 29)
    found = search.of(IDS, [1])[1]
    assert found.rivals is None
    assert (at_once.closest, at_once.pair) == (found.closest, found.pair)
    assert at_once.rivals is not None
    assert at_once.rivals.tolist() == search.rivals(IDS, 1).tolist()


def test_a_prompt_that_fills_the_context_cannot_be_continued() -> None:
    """Nor can any be cut in silence."""
    with pytest.raises(PromptError, match="65 tokens exceeds the context"):
        _search(tiny_decoder()).of([1] * 64, [1])


def test_what_is_remembered_needs_no_model() -> None:
    """Another search with the same memory loads nothing: closest pairs, pairs within, rivals."""
    memory: dict[str, object] = {}

    def remember(keys: Any, compute: Any) -> dict[Any, Any]:
        missing = tuple(one for one, key in keys.items() if key.text not in memory)
        computed = compute(missing) if missing else {}
        memory.update({keys[one].text: computed[one] for one in missing})
        return {one: memory[key.text] for one, key in keys.items()}

    decoder = tiny_decoder()
    calls: list[int] = []

    def load() -> Decoder:
        calls.append(1)
        return decoder

    def asked(search: ContinuationSearch) -> list[object]:
        found = search.of(IDS, [1, "norm"])
        near = search.within(IDS, 1, 2.0, 5)
        return [_plain(found), near.count, near.left.tolist(), search.rivals(IDS, 1).tolist()]

    first = asked(ContinuationSearch(load, _each_alone(decoder), lambda: 2**30, remember))
    assert calls
    calls.clear()
    assert first == asked(ContinuationSearch(load, _each_alone(decoder), lambda: 2**30, remember))
    assert not calls


@pytest.mark.slow
def test_a_large_table_is_searched_by_workers() -> None:
    """They find what one process finds."""
    rows = torch.randn(20_000, 512, generator=torch.Generator().manual_seed(0))
    decoder, executor = additive_decoder(rows, torch.zeros(8, 512)), InTurn()
    alone, shared = (
        ContinuationSearch(
            lambda: decoder, _each_alone(decoder), lambda: 2**40, executor=one, rivals_at_once=0
        )
        for one in (None, executor)
    )
    here, there = (search.of(IDS, [1])[1] for search in (alone, shared))
    assert (here.closest, here.pair) == (there.closest, there.pair)
    closest = executor.ran
    near, found = (search.within(IDS, 1, here.closest * 1.05, 100) for search in (alone, shared))
    assert same(near, found)
    assert 8 <= closest < executor.ran
