"""Writing of files whole or not at all."""

import secrets
from pathlib import Path


def write_whole(path: str | Path, text: str) -> None:
    """Write a text file through a temporary file beside it, so that nobody reads a half-written file."""
    path = Path(path)
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
