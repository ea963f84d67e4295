"""The rows of one prompt set on disk, layer by layer, filled shard by shard.

Each layer is one contiguous file, row i the state of prompt i. A shard is some prompts at the layers
being captured. Its rows are on the disk before its record is written, which names the prompts and has
a checksum of each layer's rows. Rows that no valid record covers count as not captured. So a process
may be killed at any point, and loses no more than the shard that it was writing.
"""

import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.files import make_private, owners_alone
from pytest_injectivity.core.layers import Layer, layer_id
from pytest_injectivity.core.shapes import Bool, Float, Int64, UInt8
from pytest_injectivity.store.journal import Journal
from pytest_injectivity.store.records import (
    left_behind,
    listed,
    read_record,
    sync_folder,
    unreadable,
    write_record,
    writing,
)
from pytest_injectivity.store.shards import SHARD_LIMITS, Shard, ShardLimits, checksum


class Rows:
    """The rows of a prompt set that have been captured so far.

    The process that writes holds a lock (`Entry.locked`); reading needs none.

    Args:
        folder: of these rows alone; made by the first shard.
        subject: what the rows are of.
        prompts: how many.
        hidden: the width of a row.
        dtype: of the states.
        journal: of this process.
        limits: when a shard is closed.
    """

    def __init__(
        self,
        folder: Path,
        subject: str,
        *,
        prompts: int,
        hidden: int,
        dtype: torch.dtype,
        journal: Journal,
        limits: ShardLimits = SHARD_LIMITS,
    ) -> None:
        self.folder = folder
        self.subject = subject
        self.prompts = prompts
        self.hidden = hidden
        self.dtype = dtype
        self.journal = journal
        self.limits = limits
        self._shards: dict[str, Shard] = {}
        self._sound: set[tuple[str, Layer]] = set()

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of one layer."""
        return self.hidden * self.dtype.itemsize

    def done(self, layer: Layer) -> Bool[np.ndarray, " prompts"]:
        """For each prompt, whether its row is there and undamaged; each shard is verified once."""
        done = np.zeros(self.prompts, dtype=bool)
        for name, shard in self.shards().items():
            if layer_id(layer) in shard.sums and self._is_sound(name, shard, layer):
                done[list(shard.prompts)] = True
        return done

    def mapped(self, layer: Layer) -> Float[Tensor, "prompts hidden"] | None:
        """The rows of a layer, memory-mapped; None while one is missing or damaged.

        Writing to the tensor does not change the file.
        """
        if not self.done(layer).all():
            return None
        for shard in self.shards().values():
            if layer_id(layer) in shard.sums:
                self.journal.note(shard.writer)
        size = self.prompts * self.hidden
        flat = torch.from_file(str(self.path(layer)), shared=False, size=size, dtype=self.dtype)
        return flat.view(self.prompts, self.hidden)

    def shards(self) -> dict[str, Shard]:
        """The readable records, by file name."""
        for path in listed(self._records):
            if path.name not in self._shards and not path.name.startswith("."):
                content = read_record(path, f"{self.subject} {path.name}")
                if content is not None:
                    self._shards[path.name] = Shard.from_json(content)
        return self._shards

    @contextmanager
    def sink(self) -> "Iterator[ShardSink]":
        """A context for the sink that a capture fills; the caller holds the lock.

        Whole shards are left on the disk also where the capture ends in an error.
        """
        with writing(self.folder):
            make_private(self._records)
            for path in left_behind(self._records):
                path.unlink()
            known = self.shards()
            for path in listed(self._records):
                if path.name not in known:
                    path.unlink()  # damaged
        sink = ShardSink(self)
        try:
            yield sink
        finally:
            sink.close()

    def path(self, layer: Layer) -> Path:
        """The file of a layer."""
        return self.folder / f"{layer_id(layer)}.rows"

    def add(self, shard: Shard, layers: Sequence[Layer]) -> None:
        """Record a shard whose rows are on the disk."""
        name = secrets.token_hex(8)
        subject = f"{self.subject} {name}"
        write_record(self._records / name, subject, shard.to_json(), lasting=True)
        self._shards[name] = shard
        self._sound |= {(name, layer) for layer in layers}

    @property
    def _records(self) -> Path:
        return self.folder / "shards"

    def _is_sound(self, name: str, shard: Shard, layer: Layer) -> bool:
        if (name, layer) not in self._sound:
            rows = self._read(layer, np.array(shard.prompts))
            if rows is None or checksum(rows) != shard.sums[layer_id(layer)]:
                return False
            self._sound.add((name, layer))
        return True

    def _read(
        self, layer: Layer, prompts: Int64[np.ndarray, " some"]
    ) -> UInt8[np.ndarray, "some bytes"] | None:
        """The bytes of some rows; None where the file is not what was written."""
        path, shape = self.path(layer), (self.prompts, self.row_bytes)
        try:
            if path.stat().st_size != shape[0] * shape[1]:
                return None
            return np.asarray(np.memmap(path, np.uint8, "r", shape=shape)[prompts])
        except (FileNotFoundError, IndexError):
            return None
        except OSError as error:
            raise unreadable(path, error) from error


@dataclass
class ShardSink:
    """Takes rows as capture finishes them and closes shards as they fill up.

    A shard holds prompts at one set of layers.

    Attributes:
        store: the rows that are filled.
    """

    store: Rows
    _prompts: list[int] = field(default_factory=list)
    _states: list[Mapping[Layer, Tensor]] = field(default_factory=list)
    _begun: float = 0.0

    def take(
        self, prompts: Sequence[int], states: Mapping[Layer, Float[Tensor, "prompts hidden"]]
    ) -> None:
        """The rows of some prompts, on the CPU, at some layers."""
        if self._states and self._states[-1].keys() != states.keys():
            self.close()
        if not self._states:
            self._begun = time.monotonic()
        self._prompts += prompts
        self._states.append(states)
        held = len(self._prompts) * len(states) * self.store.row_bytes
        limits = self.store.limits
        if held >= limits.size or time.monotonic() - self._begun >= limits.seconds:
            self.close()

    def close(self) -> None:
        """Write the open shard: rows first, then its record."""
        if not self._states:
            return
        order = np.argsort(np.array(self._prompts), kind="stable")
        prompts = np.array(self._prompts)[order]
        layers = tuple(self._states[0])
        with writing(self.store.folder):
            sums = {layer_id(layer): self._write(layer, prompts, order) for layer in layers}
            sync_folder(self.store.folder)
        self.store.add(Shard(tuple(prompts.tolist()), sums, self.store.journal.writer), layers)
        self._prompts, self._states = [], []

    def _write(
        self, layer: Layer, prompts: Int64[np.ndarray, " some"], order: Int64[np.ndarray, " some"]
    ) -> str:
        path, width = self.store.path(layer), self.store.row_bytes
        rows = torch.cat([states[layer] for states in self._states])[torch.from_numpy(order)]
        content = rows.contiguous().view(torch.uint8).numpy()
        # Runs of neighboring prompts are written in one piece.
        cuts = np.flatnonzero(np.diff(prompts) != 1) + 1
        mode = "r+b" if path.exists() else "w+b"
        with open(path, mode, opener=owners_alone) as file:
            file.truncate(self.store.prompts * width)
            for at, run in zip(np.split(prompts, cuts), np.split(content, cuts), strict=True):
                file.seek(int(at[0]) * width)
                file.write(run.data)
            file.flush()
            os.fsync(file.fileno())
        return checksum(content)
