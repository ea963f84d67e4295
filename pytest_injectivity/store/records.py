"""Small files that are whole or nothing.

A record is written beside its place and renamed into it, so no half of one is ever seen, and begins
with a checksum of its content and of what it is a record of: a damaged record, or one that was moved
to another place, reads as none at all. Content is never unpickled.
"""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_injectivity.errors import OptionError

_DIGEST = 16
_TEMPORARY = ".new-"


def write_record(path: Path, subject: str, content: bytes, *, lasting: bool = False) -> None:
    """Write a record; its folder is made, a file that is there is replaced at once.

    Args:
        path: of the file.
        subject: what this is a record of; it must be named again to read it.
        content: any bytes.
        lasting: wait until the disk has it. Without it a power cut may lose the record, which then
            reads as none; what may be lost is only time.

    Raises:
        OptionError: the folder cannot be written to; the message says why.
    """
    temporary = path.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}")
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(_sum(subject, content) + content)
                file.flush()
                if lasting:
                    os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if lasting:
            sync_folder(path.parent)


def read_record(path: Path, subject: str) -> bytes | None:
    """The content of a record; None where there is none, or it is damaged or of something else."""
    try:
        written = path.read_bytes()
    except OSError:
        return None
    content = written[2 * _DIGEST :]
    return content if written[: 2 * _DIGEST] == _sum(subject, content) else None


def left_behind(folder: Path) -> Iterator[Path]:
    """Temporary files of a process that was killed while it wrote; to be asked under a lock."""
    return folder.glob(f"{_TEMPORARY}*")


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the folder's names, where the system can (Windows cannot)."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """A disk that is full, or that one may not write to, is said in one paragraph."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OptionError(
            f"--injx-cache-dir: {folder} cannot be written ({reason}): give a folder of your own with"
            " room on its disk"
        ) from error


def _sum(subject: str, content: bytes) -> bytes:
    name = subject.encode()
    digest = hashlib.blake2b(len(name).to_bytes(8, "little"), digest_size=_DIGEST)
    digest.update(name)
    digest.update(content)
    return digest.hexdigest().encode("ascii")
