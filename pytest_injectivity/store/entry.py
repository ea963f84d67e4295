"""What a store keeps under one key: finished numbers, and the rows of a prompt set.

A number is computed by one process while the others that want it wait and then read it. A lock is
released by the system when its process dies, and whoever waited goes on.

A name of two lines is that of a part of the number which the first line names: kept for a run that goes
on where this one was ended, and forgotten as soon as the whole number is there.
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

from pytest_injectivity.store.codec import from_bytes, to_bytes
from pytest_injectivity.store.provenance import Journal
from pytest_injectivity.store.records import read_record, write_record, writing
from pytest_injectivity.store.rows import Rows

T = TypeVar("T")
K = TypeVar("K")

Waiting = Callable[[], AbstractContextManager[object]]
"""A context entered while another process is waited for."""


class Entry:
    """The folder of one key, in use by this process as long as the object lives.

    Args:
        folder: the entry's; it exists.
        code: of what computes numbers: numbers of other code are not seen.
        journal: of this process.
        waiting: entered while another process is waited for.
    """

    def __init__(self, folder: Path, code: str, journal: Journal, waiting: Waiting) -> None:
        self.folder = folder
        self.journal = journal
        self._numbers = folder / "numbers" / hashlib.sha256(code.encode()).hexdigest()[:16]
        self._waiting = waiting
        self._in_use = FileLock(_users(folder) / f"{secrets.token_hex(8)}.lock")
        with writing(folder):
            for made in (_users(folder), folder / "locks", self._numbers):
                made.mkdir(parents=True, exist_ok=True)
            self._in_use.acquire()
            (folder / "used").touch()

    def release(self) -> None:
        """This process does not use the entry any longer."""
        self._in_use.release()

    def remember(self, name: str, compute: Callable[[], T]) -> T:
        """A number: read, or computed once by one process and written.

        Args:
            name: what it is, with every argument it depends on beside the entry's key.
            compute: gives frozen dataclasses of arrays and plain data (see `plain`).
        """
        return self.remember_each(name, {name: name}, lambda _: {name: compute()})[name]

    def remember_each(
        self,
        work: str,
        names: Mapping[K, str],
        compute: Callable[[tuple[K, ...]], Mapping[K, T]],
    ) -> dict[K, T]:
        """Numbers that are computed together, such as one of each layer.

        Args:
            work: what they are in all: while it is done, others wait for it.
            names: the name of each.
            compute: gives those that are missing.
        """
        found = self._read_all(names)
        if len(found) < len(names):
            with self.locked(work):
                found |= self._read_all({one: names[one] for one in names if one not in found})
                missing = tuple(one for one in names if one not in found)
                computed = compute(missing) if missing else {}
                for one in missing:
                    self._write(names[one], computed[one])
                    found[one] = computed[one]
        return {one: found[one] for one in names}

    def known(self, names: Iterable[str]) -> bool:
        """Whether numbers of these names are there."""
        return all(self._path(name).exists() for name in names)

    def rows(self, prompts: int, hidden: int, dtype: torch.dtype) -> Rows:
        """The rows of the prompt set this entry is of."""
        return Rows(
            self.folder / "rows",
            self.folder.name,
            prompts=prompts,
            hidden=hidden,
            dtype=dtype,
            journal=self.journal,
        )

    @contextmanager
    def locked(self, work: str) -> Iterator[None]:
        """Nobody else does this work meanwhile."""
        lock = FileLock(self.folder / "locks" / f"{_file_name(work)}.lock")
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

    def _read_all(self, names: Mapping[K, str]) -> dict[K, Any]:
        read = {one: self._read(name) for one, name in names.items()}
        for found in read.values():
            if found is not None:
                self.journal.note(found["writer"])
        return {one: found["value"] for one, found in read.items() if found is not None}

    def _read(self, name: str) -> dict[str, Any] | None:
        content = read_record(self._path(name), self._subject(name))
        return None if content is None else from_bytes(content)

    def _write(self, name: str, value: object) -> None:
        content = to_bytes({"writer": self.journal.writer, "value": value})
        write_record(self._path(name), self._subject(name), content)
        self.journal.note(self.journal.writer)
        shutil.rmtree(self._parts(name), ignore_errors=True)

    def _path(self, name: str) -> Path:
        whole, _, part = name.partition("\n")
        return self._parts(whole) / _file_name(part) if part else self._numbers / _file_name(whole)

    def _parts(self, name: str) -> Path:
        return self._numbers / f"{_file_name(name)}.parts"

    def _subject(self, name: str) -> str:
        return f"{self.folder.name} {self._numbers.name} {name}"


def in_use(folder: Path) -> bool:
    """Whether a living process uses an entry; the locks of the dead are removed.

    Asked, as an entry is opened, under the store's lock.
    """
    living = False
    for path in _users(folder).glob("*.lock"):
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            living = True
        else:
            lock.release()
            path.unlink(missing_ok=True)
    return living


def _users(folder: Path) -> Path:
    """Where each process that uses an entry holds a lock of its own."""
    return folder / "users"


def _file_name(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]
