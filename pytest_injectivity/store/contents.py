"""The hash of a checkpoint's content, remembered so that the same 16 GB are not read again."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pytest_injectivity.core.number_keys import Key
from pytest_injectivity.errors import ModelError
from pytest_injectivity.store.records import read_record, write_record

_READ = ("*.safetensors", "*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja")

# A file changed this recently may change again without its times showing it.
_SETTLED_NS = 2 * 10**9


@dataclass(frozen=True)
class FilesKey(Key):
    """The names of files and the hash of the content of each."""

    files: tuple[tuple[str, str], ...]


def hash_of(path: Path) -> str:
    """The BLAKE2b (hex) of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def checkpoint_hash(
    folder: Path,
    remembered: Path,
    file: str | None = None,
    *,
    read: Callable[[Path], str] = hash_of,
    settled_ns: int = _SETTLED_NS,
) -> str:
    """A hash of the content of a checkpoint's weights, configuration and tokenizer.

    A file's hash is remembered by its path, size, inode and times.

    Args:
        folder: the checkpoint's.
        remembered: the folder the hashes are remembered in.
        file: the one file in the folder that is the checkpoint, where it is one.
        read: hashes a file's content.
        settled_ns: remember a file's hash only where its last change is so many nanoseconds ago.

    Raises:
        ModelError: a file cannot be read.
        OptionError: what is remembered cannot be read or written.
    """
    paths = sorted({path for pattern in _READ for path in folder.glob(pattern) if path.is_file()})
    if file is not None:
        paths = [folder / file]
    files = tuple((path.name, _content(path, remembered, read, settled_ns)) for path in paths)
    return FilesKey(files).digest


def _content(path: Path, remembered: Path, read: Callable[[Path], str], settled_ns: int) -> str:
    subject = f"content of {path.resolve()}"
    record = remembered / hashlib.blake2b(subject.encode(), digest_size=16).hexdigest()
    known = json.loads(read_record(record, subject) or b"[]")
    try:
        seen = _seen(path)
        if known and known[0] == seen:
            return str(known[1])
        digest = read(path)
        settled = max(seen[2:4]) < time.time_ns() - settled_ns and seen == _seen(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    if settled:
        write_record(record, subject, json.dumps([seen, digest]).encode())
    return digest


def _seen(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_dev]
