"""Memory that is written to again and again, because fresh memory comes from the system page by page."""

import math
from typing import Any, Self

import torch
from torch import Tensor

from pytest_injectivity.geometry.search.sendable import Sendable


class Scratch(Sendable):
    """Blocks of memory by name, each as large as the largest tensor asked for by it so far.

    A fresh tile of 16 MB is 4,096 pages, which the system has to clear first: that takes as long as
    multiplying a tile of narrow rows.
    """

    def __init__(self) -> None:
        self._blocks: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"_blocks": {}}

    def to(self, device: torch.device) -> Self:  # noqa: ARG002 - each block has its own
        """Other memory, because what is moved is used beside what it was."""
        return type(self)()

    def tensor(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A tensor whose content is undefined, and lost where another one of its name is asked for.

        Args:
            name: tensors of other names stay as they are.
            shape: of the tensor.
            like: has its dtype and its device.
        """
        size, key = math.prod(shape), (name, like.dtype, like.device)
        block = self._blocks.get(key)
        if block is None or block.numel() < size:
            block = self._blocks[key] = torch.empty(size, dtype=like.dtype, device=like.device)
        return block[:size].view(shape)
