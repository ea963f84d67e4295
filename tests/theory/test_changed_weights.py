"""How rounding changes weights."""

import torch

from pytest_injectivity.testing import round_weights, tiny_decoder
from pytest_injectivity.theory.changed_weights import rounding_of


def test_a_rounding_is_that_of_a_rounded_model() -> None:
    """Of each matrix of a block; vectors stay."""
    whole, rounded = tiny_decoder("llama"), round_weights(tiny_decoder("llama"), 4, blocks=[1])
    found = rounding_of(whole, 1, 4)
    theirs = dict(rounded.parts.base.named_parameters())
    before = dict(whole.parts.base.named_parameters())
    assert all(torch.equal(theirs[name] - before[name], one) for name, one in found.items())
    assert {2} == {one.dim() for one in found.values()}
    assert 7 == len(found)


def test_rows_of_an_embedding_are_rounded_by_themselves() -> None:
    """Each has a scale of its own, and its largest number stays."""
    decoder = tiny_decoder("gpt2")
    (found,) = rounding_of(decoder, "embedding", 2).values()
    weight = decoder.parts.embeddings.weight
    largest = weight.abs().argmax(1, keepdim=True)
    assert torch.equal(found.gather(1, largest), torch.zeros(len(weight), 1))
    assert bool((found.abs() <= weight.abs().amax(1, keepdim=True) / 2 + 1e-6).all())
