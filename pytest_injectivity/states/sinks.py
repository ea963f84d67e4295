"""Where captured rows go: whoever captures gives them to a sink as soon as they are computed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float

Progress = Callable[[int, int], None]
"""Called with the number of prompts done and the number in all."""

Announce = Callable[[str], None]
"""Called with one sentence for the user."""


@runtime_checkable
class Sink(Protocol):
    """Takes rows as they are finished."""

    def take(
        self, prompts: Sequence[int], states: Mapping[Layer, Float[Tensor, "prompts hidden"]]
    ) -> None:
        """Takes the rows of some prompts (indexes), on the CPU, at one or more layers."""


class InMemory:
    """A sink that keeps all rows in memory.

    Args:
        prompts: how many there will be.
    """

    def __init__(self, prompts: int) -> None:
        self.prompts = prompts
        self.rows: dict[Layer, Tensor] = {}

    def take(
        self, prompts: Sequence[int], states: Mapping[Layer, Float[Tensor, "prompts hidden"]]
    ) -> None:
        """Puts the rows in their places."""
        index = torch.tensor(prompts)
        for layer, rows in states.items():
            if layer not in self.rows:
                self.rows[layer] = torch.empty(self.prompts, rows.shape[1], dtype=rows.dtype)
            self.rows[layer][index] = rows


@dataclass(frozen=True)
class CapturedStates:
    """The last-token states ``H_l`` of a prompt set.

    Attributes:
        rows: by layer ``(prompts, hidden)``, on the CPU, in the dtype the model computed; row i is
            prompt i. Empty where a sink of the caller's took them.
        token_forwards: tokens that went through the model, padding included.
        shared_tokens: tokens that did not, because their prefix was shared.
    """

    rows: Mapping[Layer, Float[Tensor, "prompts hidden"]]
    token_forwards: int
    shared_tokens: int
