"""Rows of tokens for the tests of decoders."""

from collections.abc import Callable

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.families import TABLE

LibraryStates = Callable[[Decoder, Tensor], dict[Layer, Tensor]]
Relative = Callable[[Tensor, Tensor], float]


FAMILIES = list(TABLE)


def random_rows(*lengths: int, vocab: int = 64, seed: int = 0) -> list[Tensor]:
    """A row of random tokens of each length."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(vocab, (length,), generator=generator) for length in lengths]


def right_padded(rows: list[Tensor]) -> Tensor:
    """Rows as one batch, the shorter ones filled up behind their ends."""
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=5)
