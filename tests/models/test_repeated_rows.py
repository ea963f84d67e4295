"""No pass has fewer than sixteen tokens, and its caller sees the rows that it asked for."""

from typing import Any

import pytest
import torch

from pytest_injectivity.models.prefix import empty_cache
from pytest_injectivity.models.repeated_rows import (
    LEAST_TOKENS,
    cut_cache,
    repeat_cache,
    repeat_inputs,
    times_repeated,
)
from pytest_injectivity.testing import tiny_decoder

FAMILIES = ["gpt2", "llama", "qwen3", "mamba"]


@pytest.mark.parametrize(
    ("rows", "width", "times"), [(1, 1, 16), (1, 15, 2), (5, 3, 2), (4, 4, 1), (0, 3, 16)]
)
def test_rows_are_repeated_up_to_sixteen_tokens(rows: int, width: int, times: int) -> None:
    """As few times as make sixteen."""
    assert times == times_repeated(rows, width, None)


def cache_of(rows: int, length: int) -> Any:
    """A cache of so many rows and tokens, 8 bytes a row and token and side in each of two layers."""
    cache = empty_cache(tiny_decoder("llama").parts.base.config)
    for layer in cache.layers:
        layer.update(*(torch.rand(rows, 1, length, 2) for _ in range(2)))
    return cache


def test_a_long_prefix_is_repeated_as_often_as_memory_allows() -> None:
    """Keys and values of a prefix are held once for each row."""
    cache = cache_of(1, 100)
    held = 2 * 2 * 100 * 8
    assert 16 == times_repeated(1, 1, cache)
    assert 3 == times_repeated(1, 1, cache, most_bytes=3 * held + 1)
    assert 1 == times_repeated(1, 1, cache, most_bytes=held - 1)


def test_a_cache_is_repeated_and_cut_to_what_it_was() -> None:
    """Its first rows are the caller's, in memory of their own."""
    cache = cache_of(2, 3)
    before = [layer.keys.clone() for layer in cache.layers]
    repeat_cache(cache, 3)
    assert [6, 6] == [len(layer.values) for layer in cache.layers]
    cut_cache(cache, 2)
    assert [True, True] == [
        torch.equal(one, layer.keys) for one, layer in zip(before, cache.layers, strict=True)
    ]
    assert 2 * 3 * 2 * 4 == cache.layers[0].keys.untyped_storage().nbytes()


def test_every_input_is_repeated() -> None:
    """Ids, positions and masks keep their rows together."""
    found = repeat_inputs({"ids": torch.tensor([[1], [2]]), "mask": torch.ones(1, 1, 2, 3)}, 2)
    assert [[1], [2], [1], [2]] == found["ids"].tolist()
    assert (2, 1, 2, 3) == found["mask"].shape


@pytest.mark.parametrize("family", FAMILIES)
def test_every_pass_has_sixteen_tokens(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of prompts, prefixes, candidates, parts and prefixes side by side."""
    decoder = tiny_decoder(family)
    tokens: list[int] = []
    run = decoder.parts.embeddings.forward

    def counted(ids: torch.Tensor) -> Any:
        tokens.append(ids.numel())
        return run(ids)

    monkeypatch.setattr(decoder.parts.embeddings, "forward", counted)
    one = torch.tensor([[3, 4, 5]])
    prefix = decoder.extend(decoder.prefix(one[0], 2), torch.tensor([7]))
    for side_by_side in (True, False):
        decoder.candidates(prefix, torch.tensor([1, 2]), [1, 2], side_by_side=side_by_side)
    decoder.candidates(None, torch.tensor([1]), [2])
    decoder.states(one, [0, 1, "norm"])
    decoder.states_in_parts(one, (1, 2), [2])
    buffer = decoder.prefix_buffer(2, 8, 2)
    buffer.keep(decoder.continued(buffer, [0, 1], one.expand(2, 3)), [2, 3])
    decoder.continued(buffer, [1], one[:, :1])
    assert len(tokens) > 7
    assert min(tokens) >= LEAST_TOKENS


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pass_of_one_row_is_that_of_sixteen(family: str) -> None:
    """Bit for bit, prefixes included: libraries multiply by fewer rows with other kernels."""
    decoder = tiny_decoder(family)
    ids = torch.tensor([5, 6, 7])
    prefix = decoder.prefix(ids, "norm")
    one = decoder.candidates(prefix, torch.tensor([9]), decoder.layers, side_by_side=False)
    many = decoder.candidates(prefix, torch.tensor([9] * 16), decoder.layers, side_by_side=False)
    assert len(one) == len(decoder.layers)
    assert [True] * len(one) == [torch.equal(one[layer][0], many[layer][0]) for layer in one]


def test_gradients_are_those_of_the_rows_asked_for() -> None:
    """A row that is repeated counts once."""
    decoder = tiny_decoder("llama", dtype=torch.float64)
    rows = decoder.embedding_matrix()[None, :3].clone().requires_grad_()
    alone = decoder.states_from_embeddings(rows, [2])[2].square().sum()
    wide = decoder.states_from_embeddings(rows.expand(16, 3, -1), [2])[2][:1].square().sum()
    found, wanted = (torch.autograd.grad(one, rows)[0] for one in (alone, wide))
    assert found.abs().max() > 0
    assert torch.allclose(found, wanted, rtol=1e-10)
