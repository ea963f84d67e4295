"""Writing of files whole or not at all, and of files that only their owner may read."""

import errno
import os
import secrets
from pathlib import Path

_OWNERS_FOLDER, _OWNERS_FILE = 0o700, 0o600


def write_whole(path: str | Path, text: str) -> None:
    """Write a text file through a temporary file beside it, so that nobody reads a half-written file.

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    if not path.name:  # such as "", of a variable of a shell that is not set
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    # tempfile is not used, because only their owner may read its files; a report has the usual mode.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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
