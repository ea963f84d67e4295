"""The parts of models of every family of the table."""

import pytest
import torch

from pytest_injectivity.models.families import TABLE
from pytest_injectivity.reference.parts import parts_of
from pytest_injectivity.testing import tiny_decoder

FUSED = {"gpt2", "gpt_neox", "phi3", "falcon"}


@pytest.mark.parametrize("family", TABLE)
def test_every_number_of_a_model_is_in_one_part(family: str) -> None:
    """And in no second one, but for a head that shares the embeddings' matrix."""
    decoder = tiny_decoder(family)
    held = sum(
        tensor.numel()
        for part in parts_of(decoder)
        for _, tensor in part.tensors(decoder)
        if part.site != "head"
    )
    head = decoder.model.get_output_embeddings().weight
    tied = head.data_ptr() == decoder.parts.embeddings.weight.data_ptr()
    own = 0 if tied else head.numel()
    assert held + own == sum(one.numel() for one in decoder.model.parameters())


@pytest.mark.parametrize("family", sorted(FUSED))
def test_fused_projections_are_split_into_what_they_compute(family: str) -> None:
    """A half that is made zero leaves queries, keys or values of zero, as a hook sees them."""
    decoder = tiny_decoder(family, layers=1)
    parts = [part for part in parts_of(decoder) if part.outputs is not None]
    assert {"q", "k", "v"} <= {part.role for part in parts}
    every = torch.cat([part.outputs for part in parts if part.role in {"q", "k", "v"}])
    assert every.sort().values.equal(torch.arange(len(every)))


def test_values_of_zero_make_an_attention_of_zero() -> None:
    """The rows that are called values are: of interleaved heads as well."""
    found = []
    for family in sorted(FUSED):
        decoder = tiny_decoder(family, layers=1)
        (values,) = [part for part in parts_of(decoder) if part.role == "v"]
        (output,) = [part for part in parts_of(decoder) if part.role == "o"]
        for name, tensor in values.of(decoder).named_parameters(recurse=False):
            rows = tensor if family != "gpt2" or name == "bias" else tensor.T
            rows[values.outputs] = 0.0
        seen: list[torch.Tensor] = []
        output.of(decoder).register_forward_pre_hook(
            lambda _, args, seen=seen: seen.append(args[0])
        )
        decoder.states(torch.tensor([[1, 2, 3]]), [1])
        found.append(float(seen[0].abs().max()))
    assert found == [0.0] * len(FUSED)
