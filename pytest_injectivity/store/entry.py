"""One entry of a store: the finished numbers and the captured rows of one model and prompt set.

A number is computed by one process while the others that want it wait and then read it. The system
releases a lock when its process dies, and a process that waited then goes on.

What a long search has found after each of its parts (`PartKey`) is kept for a run that goes on where
this one was ended, and is removed as soon as the whole number is there.
"""

import hashlib
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from filelock import FileLock, Timeout

from pytest_injectivity.core.files import make_private
from pytest_injectivity.core.number_keys import NumberKey, PartKey
from pytest_injectivity.store.codec import from_bytes, to_bytes
from pytest_injectivity.store.journal import Journal
from pytest_injectivity.store.ownership import is_ones_own
from pytest_injectivity.store.records import listed, read_record, write_record, writing
from pytest_injectivity.store.rows import Rows
from pytest_injectivity.store.shards import SHARD_LIMITS, ShardLimits

T = TypeVar("T")
K = TypeVar("K")

Waiting = Callable[[], AbstractContextManager[object]]
"""A context entered while another process is waited for."""


class Entry:
    """The folder of one entry, in use by this process until `release` or the end of the process.

    Args:
        folder: the entry's; it exists.
        code: names the code that computes numbers; numbers of other code are not read.
        journal: of this process.
        waiting: entered while another process is waited for.
    """

    def __init__(self, folder: Path, code: str, journal: Journal, waiting: Waiting) -> None:
        self.folder = folder
        self.journal = journal
        self._numbers = folder / "numbers" / hashlib.sha256(code.encode()).hexdigest()[:16]
        self._waiting = waiting
        self._in_use = lock_at(_users(folder) / f"{secrets.token_hex(8)}.lock")
        with writing(folder):
            for made in (_users(folder), folder / "locks", self._numbers):
                make_private(made)
            self._in_use.acquire()
            (folder / "used").touch(mode=0o600)

    def release(self) -> None:
        """Marks the entry as no longer used by this process."""
        self._in_use.release()

    def remember(self, key: NumberKey, compute: Callable[[], T]) -> T:
        """Returns a number: read, or computed once by one process and written.

        Args:
            key: names the number and holds every argument it depends on beside the entry's own key.
            compute: computes it: frozen dataclasses of arrays and plain data (see `codec`).
        """
        return self.remember_each({None: key}, lambda _: {None: compute()})[None]

    def remember_each(
        self,
        keys: Mapping[K, NumberKey],
        compute: Callable[[tuple[K, ...]], Mapping[K, T]],
    ) -> dict[K, T]:
        """Returns numbers that are computed together, such as one of each layer.

        While one process computes them, others that ask for numbers of the same work wait.

        Args:
            keys: the key of each number; all of one work (`NumberKey.work`).
            compute: computes those that are missing.

        Raises:
            ValueError: the keys are of several works.
        """
        if not keys:
            return {}
        if len(works := {key.work for key in keys.values()}) > 1:
            raise ValueError(f"these numbers are not computed together: {sorted(works)}")
        found = self._read_all(keys)
        if len(found) < len(keys):
            with self.locked(works.pop()):
                found |= self._read_all({one: keys[one] for one in keys if one not in found})
                missing = tuple(one for one in keys if one not in found)
                computed = compute(missing) if missing else {}
                for one in missing:
                    self._write(keys[one], computed[one])
                    found[one] = computed[one]
        return {one: found[one] for one in keys}

    def known(self, keys: Iterable[NumberKey]) -> bool:
        """Whether the numbers of all these keys are there."""
        return all(self._path(key).exists() for key in keys)

    def rows(
        self,
        prompts: int,
        hidden: int,
        dtype: torch.dtype,
        limits: ShardLimits = SHARD_LIMITS,
    ) -> Rows:
        """The captured rows of the prompt set that this entry is of (see `Rows`)."""
        return Rows(
            self.folder / "rows",
            self.folder.name,
            prompts=prompts,
            hidden=hidden,
            dtype=dtype,
            journal=self.journal,
            limits=limits,
        )

    @contextmanager
    def locked(self, work: str) -> Iterator[None]:
        """Holds the lock of a piece of work: no other process does it meanwhile."""
        lock = lock_at(self.folder / "locks" / f"{_file_name(work)}.lock")
        with writing(self.folder):
            try:
                lock.acquire(timeout=0)
            except Timeout:
                with self._waiting():
                    lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _read_all(self, keys: Mapping[K, NumberKey]) -> dict[K, Any]:
        read = {one: self._read(key) for one, key in keys.items()}
        for found in read.values():
            if found is not None:
                self.journal.note(found["writer"])
        return {one: found["value"] for one, found in read.items() if found is not None}

    def _read(self, key: NumberKey) -> dict[str, Any] | None:
        content = read_record(self._path(key), self._subject(key))
        return None if content is None else from_bytes(content)

    def _write(self, key: NumberKey, value: object) -> None:
        content = to_bytes({"writer": self.journal.writer, "value": value})
        write_record(self._path(key), self._subject(key), content)
        self.journal.note(self.journal.writer)
        shutil.rmtree(self._parts(key), ignore_errors=True)

    def _path(self, key: NumberKey) -> Path:
        folder = self._parts(key.whole) if isinstance(key, PartKey) else self._numbers
        return folder / _file_name(key.text)

    def _parts(self, whole: NumberKey) -> Path:
        return self._numbers / f"{_file_name(whole.text)}.parts"

    def _subject(self, key: NumberKey) -> str:
        return f"{self.folder.name} {self._numbers.name} {key.text}"


def lock_at(path: Path) -> FileLock:
    """A lock, whose file is for its owner alone."""
    return FileLock(path, mode=0o600)


def in_use(folder: Path) -> bool:
    """Whether a living process uses an entry; locks of processes that have ended are removed.

    Called, as entries are opened, under the store's lock. An entry that others may have written is
    nobody's: its locks may be links to other files, which locking would empty.
    """
    living = False
    if not is_ones_own(folder):
        return living
    for path in listed(_users(folder)):
        lock = lock_at(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            living = True
        else:
            lock.release()
            path.unlink(missing_ok=True)
    return living


def _users(folder: Path) -> Path:
    """The folder in which each process that uses an entry holds a lock of its own."""
    return folder / "users"


def _file_name(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
