"""Looks at a checkpoint folder before anything of it is loaded: a checkpoint is untrusted input.

Only JSON and safetensors are read. What would be unpickled, would run code, or would name another
checkpoint is refused by name; a truncated or corrupt weights file is found by its header and size,
which costs a few kilobytes of reading however large it is.
"""

import json
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.header import DamagedFileError, read_header
from pytest_injectivity.quantization.formats import TABLE, Kind, of_config, traces

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_QUANTO = "quanto_qmap.json"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


def check_config(folder: Path) -> Kind | None:
    """Refuses a configuration that cannot, or must not, be loaded.

    Returns:
        How the checkpoint is quantized; None where it is in full precision.

    Raises:
        ModelError: there is none, it is no JSON object, its model type is unknown to transformers,
            or it asks for weights of an unknown kind, an adapter, or a file of its own naming.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(
            f"{folder} has no config.json: a checkpoint folder of transformers has one"
        )
    config = _read_json(path)
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        remote = " and brings code of its own, which is never run" if "auto_map" in config else ""
        raise ModelError(
            f"{path}: model_type {kind!r} is not one of transformers{remote}:"
            " the model types of the installed transformers are accepted"
        )
    if config.get("transformers_weights"):
        raise ModelError(
            f"{path}: weights in {config['transformers_weights']!r}:"
            f" {WEIGHTS} or {INDEX} is accepted"
        )
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            f"{folder} holds an adapter (adapter_config.json), which names another checkpoint:"
            " merge it into its base model first"
        )
    if (folder / _QUANTO).exists():
        # Its configuration does not say that it is quantized.
        return TABLE["quanto"]
    return of_config(config, str(path))


def check_weights(folder: Path, kind: Kind | None = None) -> list[Path]:
    """Refuses a folder whose weights are missing, pickled, truncated, corrupt or quantized in secret.

    Args:
        folder: the checkpoint's.
        kind: how its configuration says that it is quantized.

    Returns:
        The files with its weights.

    Raises:
        ModelError: names the file and what is wrong with it.
    """
    files = _weight_files(folder)
    for path in files:
        quantized = traces(_check_safetensors(path))
        if quantized and kind is None:
            raise ModelError(
                f"{path} holds quantized weights ({quantized[0]}), and the configuration beside it"
                " does not say how (quantization_config): they would be loaded wrong"
            )
    return files


def has_tokenizer(folder: Path) -> bool:
    """Whether the folder brings a tokenizer."""
    return any((folder / name).is_file() for name in _TOKENIZERS)


def gguf_has_tokenizer(path: Path) -> bool:
    """Whether a ``.gguf`` file brings a tokenizer."""
    from gguf import GGUFReader

    return "tokenizer.ggml.tokens" in GGUFReader(path).fields


def _weight_files(folder: Path) -> list[Path]:
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
    listed = _read_json(index).get("weight_map")
    names = sorted({str(name) for name in listed.values()}) if isinstance(listed, dict) else []
    inside = [name for name in names if name and Path(name).name == name]
    if not names or inside != names:
        raise ModelError(f"{index}: weight_map must name files of its own folder, by tensor")
    return inside


def _check_safetensors(path: Path) -> dict[str, Any]:
    """The header of a file that is exactly as long as its header says."""
    if not path.is_file():
        raise ModelError(f"{path} is missing, though {INDEX} lists it")
    try:
        return read_header(path)
    except DamagedFileError as error:
        raise ModelError(
            f"{path} is no complete safetensors file: {error}; copy or download it again"
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(read, dict):
        raise ModelError(f"{path} must hold a JSON object, not a {type(read).__name__}")
    return read
