"""The head alone: the library's logits from states, in float32 where the model is coarser."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pytest_injectivity.models.head import Head
from pytest_injectivity.models.resume import logits
from pytest_injectivity.testing import tiny_decoder

IDS = torch.tensor([5, 1, 9, 30, 2, 7])
FAMILIES = ("gpt2", "llama", "gemma2", "phi3", "opt", "gpt_neox", "falcon", "mamba", "mistral")


@pytest.mark.parametrize("family", FAMILIES)
def test_it_gives_the_librarys_logits(family: str) -> None:
    """Soft caps and scales too, a few positions at a time."""
    decoder = tiny_decoder(family)
    states = decoder.states(IDS[None], ["norm"])["norm"][0]
    head = Head(decoder)
    found = torch.cat([head.logits(some) for some in states.split(4)])
    assert torch.allclose(logits(decoder, IDS), found, atol=1e-6)
    assert (64, "") == (head.vocab_size, head.narrow)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
def test_a_head_of_16_bits_multiplies_in_float32(family: str) -> None:
    """The logits are those of the same weights and states in float64, to float32's rounding."""
    decoder = tiny_decoder(family, dtype=torch.bfloat16)
    states = decoder.states(IDS[None], ["norm"])["norm"][0]
    module: Any = decoder.model.get_output_embeddings()
    expected = states.double() @ module.weight.double().T
    if family == "gemma2":
        cap = decoder.model.config.final_logit_softcapping
        expected = cap * torch.tanh(expected / cap)
    found = Head(decoder).logits(states)
    assert torch.float32 == found.dtype
    assert torch.allclose(expected, found.double(), atol=1e-5)
    assert not torch.allclose(expected, logits(decoder, IDS).double(), atol=1e-3)


def test_a_bias_is_added() -> None:
    """As phi-like heads have."""
    decoder = tiny_decoder("llama", dtype=torch.bfloat16)
    model: Any = decoder.model
    plain = Head(decoder).logits(torch.ones(1, 16, dtype=torch.bfloat16))
    model.lm_head.bias = torch.nn.Parameter(torch.full((64,), 3.0, dtype=torch.bfloat16))
    found = Head(decoder).logits(torch.ones(1, 16, dtype=torch.bfloat16))
    assert torch.allclose(plain + 3.0, found)


def test_a_head_that_is_no_plain_matrix_is_called_as_it_is() -> None:
    """Its logits are as coarse as it makes them, which is said."""

    class Packed(torch.nn.Linear):
        """A head of another class."""

    decoder = tiny_decoder("llama", dtype=torch.bfloat16)
    model: Any = decoder.model
    packed = Packed(16, 64, bias=False, dtype=torch.bfloat16)
    packed.weight.data = model.lm_head.weight.data
    model.lm_head = packed
    head = Head(decoder)
    assert "bfloat16" == head.narrow
    found = head.logits(decoder.states(IDS[None], ["norm"])["norm"][0])
    assert torch.equal(logits(decoder, IDS).float(), found)


def test_the_model_is_left_as_it_was() -> None:
    """Passes after it, and after an error in it, compute what they did before."""
    decoder = tiny_decoder("llama", dtype=torch.bfloat16)
    before = logits(decoder, IDS)
    head = Head(decoder)
    head.logits(torch.ones(2, 16, dtype=torch.bfloat16))
    with pytest.raises(RuntimeError):
        head.logits(torch.ones(2, 5, dtype=torch.bfloat16))
    assert torch.equal(before, logits(decoder, IDS))
    base: Any = decoder.parts.base
    own: Callable[..., Any] = base.forward
    base.forward = own  # as a library that wraps modules leaves it
    Head(decoder).logits(torch.ones(2, 16, dtype=torch.bfloat16))
    assert base.forward is own
