"""What a model says after a prompt: the likeliest token each time."""

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Int, Int64
from pytest_injectivity.models.decoder import Decoder


def answered(
    decoder: Decoder, ids: Int[Tensor, "prompts length"], count: int
) -> Int64[Tensor, "prompts longer"]:
    """Prompts of one length, each with what the model says after it.

    Args:
        decoder: the model.
        ids: the prompts.
        count: how many tokens are said.

    Raises:
        PromptError: the prompts with their answers exceed the context.

    Example:
        >>> from pytest_injectivity.testing import tiny_decoder
        >>> answered(tiny_decoder("gpt2"), torch.tensor([[1, 2, 3]]), 4).shape
        torch.Size([1, 7])
    """
    whole = ids.long()
    for _ in range(count):
        last = torch.full((len(whole),), whole.shape[1] - 1)
        said = decoder.last_logits(whole, last).argmax(dim=1)
        whole = torch.cat([whole, said[:, None].to(whole)], dim=1)
    return whole
