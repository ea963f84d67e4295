import pytest
import torch
from torch import nn

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.families import TABLE, Parts
from pytest_injectivity.models.verification import verify_view
from pytest_injectivity.testing import tiny_decoder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", TABLE)
def test_a_decoder_seen_rightly_passes(family: str, dtype: torch.dtype) -> None:
    """Every family of the table proves its own view to within the rounding of its dtype."""
    assert verify_view(tiny_decoder(family, dtype=dtype)) <= 4 * torch.finfo(dtype).eps


def test_a_decoder_that_sees_what_follows_is_refused() -> None:
    """Attention that is not causal shows at the first block."""
    decoder = tiny_decoder("llama")
    for block in decoder.parts.blocks:
        block.self_attn.is_causal = False
    with pytest.raises(ModelError, match=r"layer 1 depends on tokens that follow it"):
        verify_view(decoder)


def test_a_wrong_norm_is_refused() -> None:
    """A module that does not give the last hidden state is no final norm."""
    decoder = tiny_decoder("gpt2")
    parts = decoder.parts
    decoder.parts = Parts(parts.base, parts.embeddings, parts.blocks, nn.Identity())
    with pytest.raises(ModelError, match=r"transformer\.ln_f does not turn its last block's"):
        verify_view(decoder)
