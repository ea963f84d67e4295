"""How rounding changes weights."""

import pytest
import torch

from pytest_injectivity.testing import round_weights, tiny_decoder
from pytest_injectivity.theory.changed_weights import rounding_of


@pytest.mark.parametrize(("family", "matrices"), [("llama", 7), ("gpt2", 4)])
def test_a_rounding_is_that_of_a_rounded_model(family: str, matrices: int) -> None:
    """Of each matrix of a block, by groups of its inputs; vectors stay."""
    whole, rounded = (tiny_decoder(family, hidden=128) for _ in range(2))
    found = rounding_of(whole, 1, 4)
    theirs = dict(round_weights(rounded, 4, blocks=[1]).parts.base.named_parameters())
    before = dict(whole.parts.base.named_parameters())
    assert all(torch.equal(theirs[name] - before[name], one) for name, one in found.items())
    assert {2} == {one.dim() for one in found.values()}
    assert matrices == len(found)


def test_rows_of_an_embedding_are_rounded_by_themselves() -> None:
    """Each has a scale of its own, and its largest number stays."""
    decoder = tiny_decoder("gpt2")
    (found,) = rounding_of(decoder, "embedding", 2).values()
    weight = decoder.parts.embeddings.weight
    largest = weight.abs().argmax(1, keepdim=True)
    assert torch.equal(found.gather(1, largest), torch.zeros(len(weight), 1))
    assert bool((found.abs() <= weight.abs().amax(1, keepdim=True) / 2 + 1e-6).all())
