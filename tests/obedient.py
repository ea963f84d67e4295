"""A tiny decoder that was taught to repeat what it has read, where a token asks it to."""

from functools import cache
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import tiny_decoder

ASK = 15
"""The token that asks for a repetition, the last of the vocabulary."""

_STEPS, _RATE = 100, 1e-2


class AskingTokenizer:
    """Whatever the instruction is, it is the token `ASK`."""

    def get_vocab(self) -> dict[str, int]:
        """The ids by name."""
        return {str(token): token for token in range(ASK + 1)}

    def __call__(self, _text: str, **_settings: Any) -> dict[str, list[int]]:
        """The ids of an instruction."""
        return {"input_ids": [ASK]}


@cache
def obedient_decoder() -> Decoder:
    """Behind two tokens and `ASK` it says the two tokens, whatever they are."""
    decoder = tiny_decoder("llama", vocab=ASK + 1, tokenizer=AskingTokenizer())
    every = torch.cartesian_prod(torch.arange(ASK + 1), torch.arange(ASK + 1))
    texts = torch.cat([every, torch.full((len(every), 1), ASK), every], dim=1)
    drawn = torch.Generator().manual_seed(0)
    weights = list(decoder.model.parameters())
    for one in weights:
        one.requires_grad_(requires_grad=True)
    adam = torch.optim.Adam(weights, lr=_RATE)
    for _ in range(_STEPS):
        some = texts[torch.randperm(len(texts), generator=drawn)[:128]]
        logits = decoder.model(input_ids=some, use_cache=False).logits[:, 2:4]
        adam.zero_grad()
        cross_entropy(logits.flatten(0, 1), some[:, 3:].flatten()).backward()
        adam.step()
    for one in weights:
        one.requires_grad_(requires_grad=False)
    return decoder
