"""Writing of files whole or not at all, and of files that only their owner may read."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OWNERS_FOLDER, _OWNERS_FILE = 0o700, 0o600


def write_whole(path: str | Path, text: str) -> None:
    """Write a text file through a temporary file beside it, so that nobody reads a half-written file.

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    _check_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _temporary(path.parent, path.name) as temporary:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)


def check_writable(path: str | Path) -> None:
    """Refuse a file that `write_whole` could not write; no file is left and no folder is made.

    Raises:
        OSError: the file cannot be written; names the folder where it is the folder's fault.
    """
    path = Path(path)
    _check_replaceable(path)
    folder = next(one for one in path.absolute().parents if one.exists())
    try:
        # Tried, because what may be asked of a folder is not known of every file system.
        with _temporary(folder, path.name):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from None


def _check_replaceable(path: Path) -> None:
    if not path.name or path.is_dir():  # such as "", of a variable of a shell that is not set
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():  # a device, which a file would take the place of
        raise OSError(errno.EINVAL, "Not a regular file", str(path))


@contextmanager
def _temporary(folder: Path, name: str) -> Iterator[Path]:
    """A new file in a folder, which is gone afterwards unless it was moved."""
    # tempfile is not used, because only their owner may read its files; a report has the usual mode.
    temporary = folder / f".{name}.{secrets.token_hex(4)}"
    temporary.touch(exist_ok=False)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def make_private(folder: Path) -> None:
    """Make a folder, with those above it that are missing, for its owner alone, whatever the umask."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=_OWNERS_FOLDER, exist_ok=True)
    if not folder.is_dir():
        raise NotADirectoryError(20, "Not a directory", str(folder))


def owners_alone(path: str, flags: int) -> int:
    """Open a file, as `open` takes it as ``opener``: a new one is for its owner alone."""
    return os.open(path, flags, _OWNERS_FILE)
