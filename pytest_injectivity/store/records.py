"""Small files with a checksum, written whole or not at all.

A record is written beside its place and renamed into it, so no half of one is ever seen. It begins with
a checksum of its content and of its subject: a damaged record, or one that was moved to another place,
reads as none at all. A record that is there and may not be read is an error: taken for a missing one, it
would make a store whose permissions are wrong look empty. Content is never unpickled.
"""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_injectivity.core.files import make_private, owners_alone
from pytest_injectivity.errors import OptionError

_DIGEST = 16
TEMPORARY = ".new-"
"""How the names of files begin that are being written."""


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
    temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
    with writing(path.parent):
        make_private(path.parent)
        try:
            with open(temporary, "xb", opener=owners_alone) as file:
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
    """The content of a record; None where there is none, or it is damaged or of something else.

    Raises:
        OptionError: the file cannot be read; the message says why.
    """
    try:
        written = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(path, error) from error
    content = written[2 * _DIGEST :]
    return content if written[: 2 * _DIGEST] == _sum(subject, content) else None


def left_behind(folder: Path) -> Iterator[Path]:
    """Temporary files of a process that was killed while it wrote; to be called under a lock."""
    return folder.glob(f"{TEMPORARY}*")


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the folder's names, where the system can (Windows cannot)."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def listed(folder: Path) -> list[Path]:
    """What a folder holds, by name; nothing where there is no such folder.

    Unlike `Path.glob`, which takes a folder that may not be read for an empty one.

    Raises:
        OptionError: the folder cannot be read, or is a file.
    """
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(folder, error) from error


def unreadable(path: Path, error: OSError) -> OptionError:
    """The error to raise where a part of a store cannot be read."""
    reason = error.strerror or type(error).__name__
    return OptionError(
        f"--injx-cache-dir: {path} cannot be read ({reason}): make it readable, or give another folder"
    )


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns the error of a disk that is full, or may not be written to, into an `OptionError`."""
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
