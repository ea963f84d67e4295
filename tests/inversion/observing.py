"""Prompts that are drawn, the states observed of them, and the worst order to search them in."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.inversion.own_states import observe
from pytest_injectivity.inversion.policies import Situation
from pytest_injectivity.models.decoder import Decoder

IDS = (5, 1, 8, 8, 2, 60, 33, 7)
Floor = Callable[[Tensor], float]


def observed(decoder: Decoder, ids: Sequence[int], layer: Layer) -> Tensor:
    """The states of a prompt at one layer, a row for each of its tokens."""
    return observe(decoder, ids, [layer])[layer]


def drawn(count: int, length: int, vocab: int = 64, seed: int = 0) -> list[tuple[int, ...]]:
    """Prompts of one length, of tokens drawn with equal chances."""
    generator = torch.Generator().manual_seed(seed)
    return [
        tuple(row) for row in torch.randint(vocab, (count, length), generator=generator).tolist()
    ]


@dataclass(frozen=True)
class Worst:
    """The truth last, and one token again: what no policy should do and any may."""

    truth: Sequence[int]

    def order(self, at: Situation) -> Iterator[Tensor]:
        """All but one, one of them again, and the truth; the search adds what is missing."""
        last = self.truth[len(at.step.prefix)]
        yield torch.tensor([token for token in range(63) if token != last])
        yield torch.tensor([0])
        yield torch.tensor([last])
