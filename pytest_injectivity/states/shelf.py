"""Keeps the states of batches between two blocks: in memory, or in a file where they are many."""

import errno
import os
import shutil
import tempfile
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from pytest_injectivity.core.durations import size
from pytest_injectivity.errors import ModelError
from pytest_injectivity.states.memory import default_budget


class Shelf:
    """A place for the states of each batch, which are taken and put again.

    Args:
        shapes: of each batch's states.
        budget: bytes that may be held in memory; more are held in a file. None: half of what is free.

    Attributes:
        budget: as given.
        folder: of the file; None: everything is in memory.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], *, budget: int | None = None) -> None:
        self.budget = default_budget(1) if budget is None else budget
        self.folder: tempfile.TemporaryDirectory[str] | None = None
        self._shapes = shapes
        self._ends = [0]
        for shape in shapes:
            self._ends.append(self._ends[-1] + prod(shape))
        self._numbers: Tensor | None = None
        self._filled: set[int] = set()

    def __enter__(self) -> Self:
        """Nothing is held yet."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Lets everything go, the file included."""
        self._numbers = None
        if self.folder is not None:
            self.folder.cleanup()

    def put(self, batch: int, states: Tensor) -> None:
        """Keeps the states of a batch in the place of those before.

        Args:
            batch: its number.
            states: of its shape, and of the dtype of all others.
        """
        if self._numbers is None:
            self._numbers = self._make(states.dtype)
        self._place(batch).copy_(states)
        self._filled.add(batch)

    def get(self, batch: int) -> Tensor | None:
        """The states of a batch, until others are put in their place; None: none were put."""
        return self._place(batch) if batch in self._filled else None

    def _place(self, batch: int) -> Tensor:
        assert self._numbers is not None  # noqa: S101 - made when the first states are put
        start, end = self._ends[batch : batch + 2]
        return self._numbers[start:end].view(self._shapes[batch])

    def _make(self, dtype: torch.dtype) -> Tensor:
        count = self._ends[-1]
        if count * dtype.itemsize <= self.budget:
            return torch.empty(count, dtype=dtype)
        needed = count * dtype.itemsize
        try:
            self.folder = tempfile.TemporaryDirectory(prefix="pytest-injectivity-states-")
            path = Path(self.folder.name) / "states"
            _take(path, needed)
        except OSError as error:
            raise ModelError(
                f"states between two blocks take {size(needed)}, and {tempfile.gettempdir()} does not"
                f" hold them ({error.strerror}): fewer prompts (--injx-max-prompts), a larger"
                " --injx-memory-budget, or another TMPDIR is accepted"
            ) from error
        return torch.from_file(str(path), shared=True, size=count, dtype=dtype)


def _take(path: Path, needed: int) -> None:
    """Makes a file that has its place on the disk: writing to a mapped one ends the process without."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, needed)
        elif shutil.disk_usage(path.parent).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
