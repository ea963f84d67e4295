"""The header of a safetensors file, read before what it describes: a few kilobytes of any size."""

import json
from pathlib import Path
from typing import Any

METADATA = "__metadata__"
LONGEST_HEADER = 100_000_000
"""The format's own limit, in bytes; a corrupt length is not to be allocated."""

_LENGTH_BYTES = 8


class DamagedFileError(ValueError):
    """A file is no complete safetensors file; the message says what is wrong."""


def read_header(path: Path, longest: int = LONGEST_HEADER) -> dict[str, Any]:
    """What the header says of each tensor and, under ``__metadata__``, of the file.

    Args:
        path: of a file that exists.
        longest: bytes that a header may have.

    Raises:
        DamagedFileError: the header cannot be read, or the file is not exactly as long as it says.
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if not 0 < length <= min(size - _LENGTH_BYTES, longest):
            raise DamagedFileError(f"its header claims {length} bytes of {size}")
        raw = file.read(length)
    try:
        header: dict[str, Any] = json.loads(raw)
        tensors = [value for key, value in header.items() if key != METADATA]
        needed = _LENGTH_BYTES + length + max((t["data_offsets"][1] for t in tensors), default=0)
    except (ValueError, AttributeError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise DamagedFileError("its header cannot be read") from error
    if size != needed:
        raise DamagedFileError(f"it has {size} bytes where its header needs {needed}")
    return header
