"""The files that hold a checkpoint's weights, found and checked by their headers.

What would be unpickled is refused by name and never opened. A truncated or corrupt file is found by its
header and its size, which costs a few kilobytes of reading however large the file is.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

from safetensors import safe_open
from torch import Tensor

from pytest_injectivity.errors import ModelError
from pytest_injectivity.quantization.formats.base import Format
from pytest_injectivity.quantization.formats.registry import traces
from pytest_injectivity.quantization.gguf_header import GgufHeader
from pytest_injectivity.quantization.library_calls import refusing
from pytest_injectivity.quantization.stored_tensors import (
    Read,
    StoredFile,
    StoredTensor,
    read_safetensors,
)

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


@dataclass(frozen=True)
class WeightFiles:
    """The weights files of a checkpoint, and what their headers say.

    Attributes:
        headers: by file.
    """

    headers: dict[Path, StoredFile]

    @cached_property
    def tensors(self) -> dict[str, StoredTensor]:
        """The tensors of all files, by name."""
        return {
            name: tensor for file in self.headers.values() for name, tensor in file.tensors.items()
        }

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(path.stat().st_size for path in self.headers)

    @contextmanager
    def opened(self) -> Iterator[Read]:
        """Opens each safetensors file once, when a tensor of it is first read.

        Yields:
            What reads a tensor by its name, in any thread, as long as the context lasts.
        """
        places = {name: path for path, file in self.headers.items() for name in file.tensors}
        files: dict[Path, Any] = {}
        # A file refuses to be closed while it is read. Where loading has failed in one thread, the
        # library's other threads read on.
        reading, stack, ended = Lock(), ExitStack(), list[bool]()

        def read(name: str) -> Tensor:
            path = places[name]
            with reading:
                if ended:
                    raise ModelError(f"{name} is read, and the files are closed")
                if path not in files:
                    files[path] = stack.enter_context(safe_open(path, framework="pt"))
                tensor: Tensor = files[path].get_tensor(name)
            return tensor

        try:
            yield read
        finally:
            with reading:
                ended.append(True)
                stack.close()


def of_gguf(header: GgufHeader) -> WeightFiles:
    """The weights files of a checkpoint that is one ``.gguf`` file."""
    tensors = {name: StoredTensor(one.kind, one.shape) for name, one in header.tensors.items()}
    return WeightFiles({header.path: StoredFile(tensors, dict.fromkeys(header.metadata, ""))})


def read_weight_files(folder: Path, quantized: Format | None = None) -> WeightFiles:
    """Reads the headers of a folder's weights.

    Args:
        folder: the checkpoint's.
        quantized: how its configuration says that it is quantized.

    Raises:
        ModelError: weights are missing, pickled, truncated, corrupt, or quantized while the
            configuration says nothing of it; the message names the file and what is wrong with it.
    """
    headers = {path: _read(path) for path in _files(folder)}
    held: dict[str, Path] = {}
    for path, file in headers.items():
        for name in file.tensors:
            if name in held:
                raise ModelError(
                    f"{path} holds {name}, which {held[name]} holds too: one file a tensor is accepted"
                )
            held[name] = path
        found = traces(file.tensors)
        if found and quantized is None:
            raise ModelError(
                f"{path} holds quantized weights ({found[0]}), and the configuration beside it"
                " does not say how (quantization_config): they would be loaded wrong"
            )
    return WeightFiles(headers)


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object of a checkpoint.

    Raises:
        ModelError: the file is not valid JSON, or holds something else than an object.
    """
    try:
        read = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(read, dict):
        raise ModelError(f"{path} must hold a JSON object, not a {type(read).__name__}")
    return read


def _files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        return [folder / name for name in _shards(folder / INDEX)]
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        raise ModelError(
            f"{folder}: {', '.join(pickles)} would be unpickled, which runs code:"
            " safetensors are accepted (save_pretrained writes them)"
        )
    if next(folder.glob("*.gguf"), None):
        raise ModelError(f"{folder} holds .gguf files: name the one to load")
    raise ModelError(f"{folder} has no weights: {WEIGHTS} or {INDEX} is accepted")


def _shards(index: Path) -> list[str]:
    listed = read_json(index).get("weight_map")
    names = sorted({str(name) for name in listed.values()}) if isinstance(listed, dict) else []
    inside = [name for name in names if name and Path(name).name == name]
    if not names or inside != names:
        raise ModelError(f"{index}: weight_map must name files of its own folder, by tensor")
    return inside


def _read(path: Path) -> StoredFile:
    """The header of a file that is exactly as long as its header says."""
    if not path.is_file():
        raise ModelError(f"{path} is missing, though {INDEX} lists it")
    with refusing(f"{path} is no complete safetensors file", "copy or download it again"):
        return read_safetensors(path)
