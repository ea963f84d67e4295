"""Rows of the embedding that no token of the tokenizer has: no attacker names them (SPEC section 4)."""

from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Bool
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.prompts.known_tokens import known_tokens

_MASKS: WeakKeyDictionary[Decoder, Tensor | None] = WeakKeyDictionary()


def named_tokens(decoder: Decoder) -> Bool[Tensor, " vocab"] | None:
    """Which rows of a model's embedding are tokens; None where all of them are."""
    if decoder not in _MASKS:
        mask = torch.zeros(decoder.vocab_size, dtype=torch.bool)
        mask[torch.from_numpy(known_tokens(decoder.tokenizer, decoder.vocab_size))] = True
        _MASKS[decoder] = None if bool(mask.all()) else mask.to(decoder.device)
    return _MASKS[decoder]
