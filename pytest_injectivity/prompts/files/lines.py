"""The lines of text files: UTF-8, plain or compressed by gzip."""

import codecs
import gzip
import io
import zlib
from collections.abc import Generator
from pathlib import Path

from pytest_injectivity.errors import PromptError

COMPRESSED = ".gz"

_GZIP = b"\x1f\x8b"
_BUFFER = 2**18  # bytes
_HEAD = 64  # bytes, among which the zeros of UTF-16 and UTF-32 are looked for
_ZEROS_16, _ZEROS_32 = 0.4, 0.65

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def decoded_lines(path: Path) -> Generator[str, None, None]:
    r"""The lines of a UTF-8 file, each with its newline (``\n`` alone ends a line), without BOM.

    A file whose name ends in ``.gz`` is decompressed (see `Expanded`). Close what is returned where
    lines are left.

    Raises:
        PromptError: the file is not UTF-8, or not what its name says.
    """
    offset = 0
    with _opened(path) as file:
        _refuse_other_encodings(file.peek(_HEAD)[:_HEAD], path)
        for number, raw in enumerate(file, 1):
            skipped = len(codecs.BOM_UTF8) if offset == 0 and raw.startswith(codecs.BOM_UTF8) else 0
            try:
                line = raw[skipped:].decode("utf-8")
            except UnicodeDecodeError as error:
                at = skipped + error.start
                raise PromptError(
                    f"{path.name}, line {number}: not UTF-8: byte 0x{raw[at]:02x} at offset"
                    f" {offset + at} of the file ({error.reason}): save the file as UTF-8"
                ) from None
            yield line
            offset += len(raw)


class Expanded(io.RawIOBase):
    """A gzip file as the bytes that it holds, up to a limit in proportion to its size.

    A few kilobytes can expand to gigabytes. Text shrinks to a tenth, and a file of one line again and
    again to a thousandth.

    Args:
        path: the file.
        times: how many times its size it may hold, ``beside`` which it may hold ``more`` bytes.
        more: see ``times``.
    """

    def __init__(self, path: Path, *, times: int = 100, more: int = 2**28) -> None:
        self._path = path
        self._file = gzip.open(path, "rb")  # noqa: SIM115 - closed with this
        self._limit = times * path.stat().st_size + more
        self._read = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override] # io gives a memoryview
        """Fill a buffer with what the file holds.

        Raises:
            PromptError: the file is damaged, or holds more than the limit.
        """
        try:
            count = self._file.readinto(buffer)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise PromptError(f"{self._path.name} is not a readable gzip file: {error}") from None
        self._read += count
        if self._read > self._limit:
            raise PromptError(
                f"{self._path.name} holds more than {self._limit:,} bytes, {self._path.stat().st_size:,}"
                " compressed: no prompts shrink so far: decompress it to read it all the same"
            )
        return count


def _opened(path: Path) -> io.BufferedReader:
    if path.suffix.lower() == COMPRESSED:
        return io.BufferedReader(Expanded(path), _BUFFER)
    return path.open("rb")


def _refuse_other_encodings(head: bytes, path: Path) -> None:
    """Refuse, by its name, a file that is compressed or in an encoding of 2 or 4 bytes a character."""
    if head.startswith(_GZIP):
        raise PromptError(f"{path.name} is compressed by gzip: call it {path.name}{COMPRESSED}")
    encoding = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    # Without a mark: ASCII has a zero in one of two bytes, or in three of four.
    zeros = head.count(0) / max(1, len(head))
    if encoding is None and zeros >= _ZEROS_16:
        encoding = "UTF-32" if zeros >= _ZEROS_32 else "UTF-16"
    if encoding is not None:
        raise PromptError(f"{path.name} is {encoding}: save the file as UTF-8")
