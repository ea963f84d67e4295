"""Blocks whose weights are read from disk when a block runs, and dropped when it is done.

Memory then holds one block at a time, whatever the size of the checkpoint. Every pass reads the blocks
that it runs; `only` keeps one block for as many passes as the caller likes.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


class StreamedBlocks:
    """Reads the weights of each block when it runs.

    Args:
        model: its blocks hold parameters without memory.
        blocks: those blocks.
        stored: their weights, by the parameters' names in the model; read one by one.
        device: where the blocks run.

    Attributes:
        reads: how many blocks were read so far.
    """

    def __init__(
        self,
        model: nn.Module,
        blocks: nn.ModuleList,
        stored: Mapping[str, Tensor],
        device: torch.device,
    ) -> None:
        self.reads = 0
        self._stored = stored
        self._device = device
        names = {id(module): name for name, module in model.named_modules()}
        self._starts = tuple(f"{names[id(block)]}." for block in blocks)
        self._blocks = tuple(blocks)
        # The parameters without memory, which stand in the blocks while these are not read.
        self._empty = tuple(dict(block.named_parameters()) for block in blocks)
        self._reading = True
        for index, block in enumerate(blocks):
            block.register_forward_pre_hook(partial(self._before, index))
            block.register_forward_hook(partial(self._after, index), always_call=True)

    @property
    def largest(self) -> int:
        """Bytes of the weights of the largest block."""
        return max(sum(one.nbytes for one in empty.values()) for empty in self._empty)

    def read(self, name: str) -> Tensor:
        """Reads the weights of one parameter of a block.

        Args:
            name: of the parameter in the model.

        Raises:
            KeyError: no block has a parameter of this name.
        """
        return self._stored[name]

    @contextmanager
    def only(self, index: int | None) -> Iterator[None]:
        """Keeps one block in memory for many passes, in which no other block computes anything.

        Args:
            index: of the block, from 0; None: none computes anything.
        """
        if index is not None:
            self._fill(index)
        self._reading = False
        try:
            yield
        finally:
            self._reading = True
            if index is not None:
                self._clear(index)

    def _before(self, index: int, *_: object) -> None:
        if self._reading:
            self._fill(index)

    def _after(self, index: int, *_: object) -> None:
        if self._reading:
            self._clear(index)

    def _fill(self, index: int) -> None:
        self.reads += 1
        start = self._starts[index]
        for name, empty in self._empty[index].items():
            # A copy, because a view of the file would be read again in every pass, from disk at worst.
            read = self._stored[start + name].to(empty.dtype)
            values = torch.empty(empty.shape, dtype=empty.dtype, device=self._device).copy_(read)
            self._put(index, name, nn.Parameter(values, requires_grad=False))

    def _clear(self, index: int) -> None:
        for name, empty in self._empty[index].items():
            self._put(index, name, empty)

    def _put(self, index: int, name: str, parameter: nn.Parameter) -> None:
        path, _, own = name.rpartition(".")
        module: Any = self._blocks[index].get_submodule(path)
        setattr(module, own, parameter)
