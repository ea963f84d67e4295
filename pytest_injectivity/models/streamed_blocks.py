"""Blocks whose weights are read from disk when a block runs, and dropped when it is done.

Memory then holds one block at a time, whatever the size of the checkpoint. Every pass reads the blocks
that it runs. `StreamedBlocks.only` keeps one block for as many passes as the caller likes, and `sweeps`
lets passes that wait for one block share it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from pytest_injectivity.errors import ModelError
from pytest_injectivity.quantization.library_calls import refusing

Weights: TypeAlias = Mapping[str, nn.Parameter]
"""The weights of one block, by the parameters' names in it."""


class BlocksOnDisk:
    """The weights of a model's blocks, as they lie on disk.

    Args:
        model: its blocks hold parameters without memory.
        blocks: those blocks.
        stored: their weights, by the parameters' names in the model; read one by one.
        device: where the blocks run.
        source: names the checkpoint in messages.
        files: that hold the weights, and must stay as they are.

    Attributes:
        reads: how many blocks were read so far.
    """

    def __init__(
        self,
        model: nn.Module,
        blocks: nn.ModuleList,
        stored: Mapping[str, Tensor],
        device: torch.device,
        *,
        source: str = "",
        files: Iterable[Path] = (),
    ) -> None:
        self.reads = 0
        self._source = source
        self._files = {file: _state(file) for file in files}
        self._stored = stored
        self._device = device
        names = {id(module): name for name, module in model.named_modules()}
        self._starts = tuple(f"{names[id(block)]}." for block in blocks)
        self._empty = tuple(dict(block.named_parameters()) for block in blocks)

    @property
    def largest(self) -> int:
        """Bytes of the weights of the largest block."""
        return max(sum(one.nbytes for one in empty.values()) for empty in self._empty)

    def tensor(self, name: str) -> Tensor:
        """Reads the weights of one parameter of a block to the device.

        Args:
            name: of the parameter in the model.

        Raises:
            KeyError: no block has a parameter of this name.
        """
        return self._stored[name].to(self._device)

    def block(self, index: int) -> Weights:
        """Reads the weights of one block to the device.

        Args:
            index: of the block, from 0.

        Raises:
            ModelError: a file was changed since the model was loaded, or cannot be read.
        """
        self.reads += 1
        with refusing(f"{self._source}: block {index + 1} cannot be read from disk"):
            for file, before in self._files.items():
                if _state(file) != before:
                    raise ModelError(f"{file} was changed while it was read")
            return {name: self._read(index, name, one) for name, one in self._empty[index].items()}

    def _read(self, index: int, name: str, empty: nn.Parameter) -> nn.Parameter:
        # A copy, because a view of the file would be read again in every pass, from disk at worst.
        read = self._stored[self._starts[index] + name].to(empty.dtype)
        values = torch.empty(empty.shape, dtype=empty.dtype, device=self._device)
        return nn.Parameter(values.copy_(read), requires_grad=False)


def _state(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns


class StreamedBlocks:
    """Gives each block its weights before it runs, and takes them away when it is done.

    Args:
        blocks: hold parameters without memory.
        disk: their weights.
        obtain: gives the weights of a block that is about to run; None: they are read.

    Attributes:
        disk: as given.
    """

    def __init__(
        self,
        blocks: nn.ModuleList,
        disk: BlocksOnDisk,
        obtain: Callable[[int], Weights] | None = None,
    ) -> None:
        self.disk = disk
        self._obtain = obtain or disk.block
        self._blocks = tuple(blocks)
        # The parameters without memory, which stand in the blocks while these do not run.
        self._empty = tuple(dict(block.named_parameters()) for block in blocks)
        self._open = True
        self._handles: list[Any] = []
        self._listen()

    @contextmanager
    def only(self, index: int | None) -> Iterator[None]:
        """Keeps one block in memory for many passes, in which no other block computes anything.

        Args:
            index: of the block, from 0; None: none computes anything.
        """
        if index is not None:
            self._put(index, self.disk.block(index))
        self._open = False
        try:
            yield
        finally:
            self._open = True
            if index is not None:
                self._put(index, self._empty[index])

    @contextmanager
    def let_go(self) -> Iterator[None]:
        """Leaves the blocks as plain modules without memory, which can be copied."""
        for one in self._handles:
            one.remove()
        self._handles.clear()
        try:
            yield
        finally:
            self._listen()

    def _listen(self) -> None:
        for index, block in enumerate(self._blocks):
            before, after = partial(self._before, index), partial(self._after, index)
            handle = block.register_forward_pre_hook(before, prepend=True, with_kwargs=True)
            self._handles.append(handle)
            handle = block.register_forward_hook(after, prepend=True, always_call=True)
            self._handles.append(handle)

    def _before(
        self, index: int, _block: object, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        given = args[0] if args else kwargs["hidden_states"]
        if given.requires_grad and torch.is_grad_enabled():
            raise ModelError(
                "gradients keep the weights of all blocks in memory, and these stay on disk"
                " (--injx-load=stream): --injx-load=whole is accepted"
            )
        if self._open:
            self._put(index, self._obtain(index))

    def _after(self, index: int, *_: object) -> None:
        if self._open:
            self._put(index, self._empty[index])

    def _put(self, index: int, weights: Weights) -> None:
        for name, parameter in weights.items():
            path, _, own = name.rpartition(".")
            module: Any = self._blocks[index].get_submodule(path)
            setattr(module, own, parameter)
