"""Reads the header of a ``.gguf`` file: its metadata, and where each tensor lies.

The library ``gguf`` reads a header element by element, which takes seconds for a vocabulary; here texts
of a vocabulary are stepped over, because the tokenizer's own reader takes them from the file. A file is
untrusted input: every length is compared with the size of the file before it is used.
"""

import mmap
import struct
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

Value = int | float | str | tuple[int | float, ...]

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_STRING, _ARRAY, _BOOL = 8, 9, 7
_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    _BOOL: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_ALIGNMENT = 32
_LONGEST_NAME = 2**16
_MOST_DIMENSIONS = 4
# Of an array of metadata: a vocabulary has some hundred thousand.
_MOST_NUMBERS = 2**24


@dataclass(frozen=True)
class GgufTensor:
    """Where and how a file holds one tensor.

    Attributes:
        kind: the name of its type in ggml, such as ``Q4_1`` or ``F32``.
        shape: its dimensions in numbers, in torch's order.
        start: of its first byte in the file.
        nbytes: how many bytes.
    """

    kind: str
    shape: tuple[int, ...]
    start: int
    nbytes: int


@dataclass(frozen=True, eq=False)
class GgufHeader:
    """The header of a ``.gguf`` file.

    Attributes:
        path: the file's.
        metadata: scalars, texts and arrays of numbers, by key.
        counts: of arrays of texts, how many texts there are, by key.
        written: the bytes of each entry of the metadata as the file holds them, by key.
        tensors: by name.
    """

    path: Path
    metadata: dict[str, Value]
    counts: dict[str, int]
    written: dict[str, bytes]
    tensors: dict[str, GgufTensor]

    @property
    def architecture(self) -> str:
        """What ggml calls the family of the model; empty where the file does not say."""
        return str(self.metadata.get("general.architecture", ""))

    @cached_property
    def described(self) -> dict[str, Value]:
        """The metadata on the model's architecture, without the architecture's name before each key."""
        start = f"{self.architecture}."
        return {
            key.removeprefix(start): value
            for key, value in self.metadata.items()
            if key.startswith(start)
        }


def read_gguf_header(path: Path) -> GgufHeader:
    """Reads the header of a ``.gguf`` file; no tensor's data is read.

    Args:
        path: the file.

    Raises:
        ValueError: the file is damaged, truncated, of a version that is not read, or holds a tensor
            twice.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        if path.stat().st_size < len(_MAGIC):
            raise ValueError("the file is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(path, data).header()


class _Reader:
    """Steps through the bytes of a file.

    Args:
        path: the file's.
        data: its bytes.
    """

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self._path, self._data, self._at = path, data, 0

    def header(self) -> GgufHeader:
        if self._bytes(4) != _MAGIC:
            raise ValueError("the file does not begin with GGUF")
        version = self._number("<I")
        if version not in _VERSIONS:
            raise ValueError(f"version {version} of the format is not read: 2 and 3 are")
        n_tensors, n_entries = int(self._number("<Q")), int(self._number("<Q"))
        found = GgufHeader(self._path, {}, {}, {}, {})
        for _ in range(n_entries):
            self._entry(found)
        infos = [self._info() for _ in range(n_tensors)]
        alignment = found.metadata.get("general.alignment", _ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1:
            raise ValueError(f"general.alignment {alignment!r} is not a positive integer")
        data = -(-self._at // alignment) * alignment
        for name, shape, kind, offset in infos:
            if name in found.tensors:
                raise ValueError(f"tensor {name} is listed twice")
            found.tensors[name] = self._tensor(name, shape, kind, data + offset)
        return found

    def _entry(self, found: GgufHeader) -> None:
        begin, key = self._at, self._text(_LONGEST_NAME)
        if key in found.written:
            raise ValueError(f"metadata {key} stands there twice")
        kind = int(self._number("<I"))
        if kind == _ARRAY:
            kind, count = int(self._number("<I")), int(self._number("<Q"))
            if kind == _STRING:
                for _ in range(count):
                    self._skip(int(self._number("<Q")))
                found.counts[key] = count
            else:
                code = self._code(kind)
                if count > _MOST_NUMBERS:
                    raise ValueError(f"metadata {key} has {count} numbers, more than any model's")
                values = self._bytes(count * struct.calcsize(code))
                found.metadata[key] = struct.unpack(f"<{count}{code[1:]}", values)
        elif kind == _STRING:
            found.metadata[key] = self._text()
        else:
            found.metadata[key] = self._number(self._code(kind))
        found.written[key] = self._data[begin : self._at]

    def _info(self) -> tuple[str, tuple[int, ...], int, int]:
        name, n_dims = self._text(_LONGEST_NAME), int(self._number("<I"))
        if not 0 <= n_dims <= _MOST_DIMENSIONS:
            raise ValueError(
                f"tensor {name} has {n_dims} dimensions, of at most {_MOST_DIMENSIONS}"
            )
        # ggml writes the dimension that moves fastest first.
        shape = tuple(reversed([int(self._number("<Q")) for _ in range(n_dims)]))
        return name, shape, int(self._number("<I")), int(self._number("<Q"))

    def _tensor(self, name: str, shape: tuple[int, ...], kind: int, start: int) -> GgufTensor:
        from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

        kinds = {one.value: one for one in GGMLQuantizationType if one in GGML_QUANT_SIZES}
        if kind not in kinds:
            raise ValueError(
                f"tensor {name} is of type {kind}, which the library gguf does not know"
            )
        block, size = GGML_QUANT_SIZES[kinds[kind]]
        if shape and shape[-1] % block:
            raise ValueError(f"tensor {name} {shape} is no multiple of its blocks of {block}")
        nbytes = prod(shape) // block * size
        if start + nbytes > len(self._data):
            raise ValueError(f"the file ends inside tensor {name}: it is truncated")
        return GgufTensor(kinds[kind].name, shape, start, nbytes)

    @staticmethod
    def _code(kind: int) -> str:
        if kind not in _SCALARS:
            raise ValueError(f"metadata of type {kind} is not read")
        return _SCALARS[kind]

    def _number(self, code: str) -> int | float:
        (value,) = struct.unpack(code, self._bytes(struct.calcsize(code)))
        return value  # type: ignore[no-any-return] # struct gives what the code says

    def _text(self, longest: int | None = None) -> str:
        length = int(self._number("<Q"))
        if longest is not None and length > longest:
            raise ValueError(f"a name of {length} bytes is longer than {longest}")
        return self._bytes(length).decode()

    def _bytes(self, count: int) -> bytes:
        begin = self._at
        self._skip(count)
        return self._data[begin : self._at]

    def _skip(self, count: int) -> None:
        self._at += count
        if self._at > len(self._data):
            raise ValueError("the file ends inside its header: it is truncated")
