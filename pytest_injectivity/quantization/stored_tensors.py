"""What a weights file says of its tensors before their data: names, types and shapes.

Reading a header costs kilobytes however large the file is. The libraries check it: a safetensors file
that is truncated, too long or contradicts itself is refused by `safetensors.safe_open`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor

Read: TypeAlias = Callable[[str], Tensor]
"""Gives a tensor of the files by its name."""


@dataclass(frozen=True)
class StoredTensor:
    """How a file stores one tensor.

    Attributes:
        dtype: the file format's own name of its type, such as ``BF16``, ``F8_E4M3`` or ``Q4_0``.
        shape: its dimensions, in numbers (not bytes).
    """

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class StoredFile:
    """The header of a weights file.

    Attributes:
        tensors: by name.
        metadata: what else the file says, as texts by name; of a ``.gguf`` file the names alone.
    """

    tensors: dict[str, StoredTensor]
    metadata: dict[str, str]


@dataclass(frozen=True, eq=False)
class StoredWeights:
    """What a quantized checkpoint holds, and what it says of it.

    Attributes:
        tensors: of all files, by name.
        read: gives one of them.
        said: the configuration's own words on quantization.
    """

    tensors: Mapping[str, StoredTensor]
    read: Read
    said: Mapping[str, Any] = field(default_factory=dict)


def read_safetensors(path: Path) -> StoredFile:
    """Reads the header of a safetensors file; no tensor's data is read.

    Raises:
        SafetensorError: the file is damaged, truncated or longer than its header says.
        OSError: the file cannot be read.
    """
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        tensors = {}
        for name in file.keys():  # noqa: SIM118 - the opened file is no mapping
            header = file.get_slice(name)
            tensors[name] = StoredTensor(header.get_dtype(), tuple(header.get_shape()))
        return StoredFile(tensors, file.metadata() or {})
