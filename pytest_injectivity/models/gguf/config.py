"""Reads the configuration of a model from the metadata of a ``.gguf`` file.

The library's own reading of the metadata is the base. It reads the whole vocabulary several times, which
takes seconds, and it drops entries that it does not know. So the library is given a file of the same
metadata without the vocabulary and with tensors of one number, and the entries that it drops are applied
or refused here (`metadata`, `rotary`).
"""

import struct
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import AutoConfig, PreTrainedConfig
from transformers.integrations.ggml import GGUF_CONFIG_MAPPING

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.gguf.metadata import apply_metadata
from pytest_injectivity.models.gguf.rotary import apply_rotary
from pytest_injectivity.models.header_check import (
    refuse_impossible_sizes,
    refuse_missing_blocks,
)
from pytest_injectivity.quantization.gguf_header import GgufHeader
from pytest_injectivity.quantization.library_calls import refusing

_NUMBER = struct.Struct("<IQ")  # type F32, offset 0
_UINT32, _F32_BYTES = 4, 32
_MODELS = ("model", "")
# What the library takes for the width of a head, for a context, or for nothing at all.
_CARRIED_WRONG = {"head_dim", "n_ctx", "feed_forward_length", None}


def read_gguf_config(header: GgufHeader) -> PreTrainedConfig:
    """The configuration of the model that a file holds.

    Args:
        header: the file's.

    Raises:
        ModelError: the file holds no model, names more blocks or experts than it has, or says something
            of the model that its configuration cannot say.
    """
    _refuse_other_files(header)
    described, path = header.described, str(header.path)
    sizes = {
        "num_hidden_layers": described.get("block_count", 0),
        "num_experts": described.get("expert_count", 0),
    }
    refuse_impossible_sizes(sizes, path)
    if isinstance(blocks := described.get("block_count"), int):
        refuse_missing_blocks(blocks, header.tensors, path)
    with refusing(f"{path} cannot be read"):
        carried = _carried(header)
        config = _by_library(header)
    if isinstance(config.get_text_config().num_hidden_layers, int):
        refuse_missing_blocks(config.get_text_config().num_hidden_layers, header.tensors, path)
    config = apply_metadata(config, header, carried)
    return apply_rotary(config, header)


def _refuse_other_files(header: GgufHeader) -> None:
    kind = header.metadata.get("general.type", "model")
    if kind not in _MODELS:
        raise ModelError(
            f"{header.path} holds {kind!r} (general.type): a file that holds a whole model is accepted"
        )
    if (parts := header.metadata.get("split.count", 1)) not in {0, 1}:
        raise ModelError(
            f"{header.path} is one of {parts} files (split.count): one file that holds the whole model"
            " is accepted (llama-gguf-split --merge makes it)"
        )


def _by_library(header: GgufHeader) -> PreTrainedConfig:
    """The library's own reading of the metadata."""
    if header.architecture in _read_fast():
        return _read(header.path)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "header.gguf"
        path.write_bytes(_without_vocabulary(header))
        return _read(path)


def _read(path: Path) -> PreTrainedConfig:
    config: PreTrainedConfig = AutoConfig.from_pretrained(
        path.parent, gguf_file=path.name, trust_remote_code=False, local_files_only=True
    )
    return config


def _read_fast() -> dict[str, Any]:
    """The architectures whose metadata the library reads with a fast reader of its own."""
    try:
        from transformers.integrations.gguf.gguf_config_mapping import GGUF_CONFIG_ARCHS
    except ImportError:
        return {}
    found: dict[str, Any] = GGUF_CONFIG_ARCHS
    return found


def _carried(header: GgufHeader) -> set[str]:
    """The entries of the architecture's metadata that the library carries over, by their names."""
    if (reader := _read_fast().get(header.architecture)) is not None:
        noted = _Noting({**header.metadata, **header.counts})
        reader(noted, tuple(header.tensors))
        start = f"{header.architecture}."
        return {key.removeprefix(start) for key in noted.keys_read if key.startswith(start)}
    named = {"qwen2moe": "qwen2_moe", "qwen3moe": "qwen3_moe", "gpt-oss": "gpt_oss"}
    named |= {"minimax-m2": "minimax_m2"}
    tables: dict[str, Any] = GGUF_CONFIG_MAPPING
    table = tables.get(named.get(header.architecture, header.architecture), {})
    return {name for name, target in table.items() if target not in _CARRIED_WRONG}


class _Noting(dict[str, Any]):
    """A dictionary that notes which of its keys are read."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.keys_read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.keys_read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.keys_read.add(key)
        return super().get(key, default)


def _without_vocabulary(header: GgufHeader) -> bytes:
    """A file of the same metadata but for arrays of texts, with tensors of one number."""
    entries = [
        written
        for key, written in header.written.items()
        if key not in header.counts
        and not key.startswith("tokenizer.ggml.scores")
        and not key.startswith("tokenizer.ggml.token_type")
    ]
    size = f"{header.architecture}.vocab_size"
    # The library counts the vocabulary where no entry says its size.
    if size not in header.metadata and (tokens := header.counts.get("tokenizer.ggml.tokens")):
        entries.append(_text(size) + struct.pack("<II", _UINT32, tokens))
    infos = [_text(name) + struct.pack("<IQ", 1, 1) + _NUMBER.pack(0, 0) for name in header.tensors]
    start = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(entries))
    whole = start + b"".join(entries) + b"".join(infos)
    alignment = int(str(header.metadata.get("general.alignment", _F32_BYTES)))
    return whole + bytes(-len(whole) % alignment + _F32_BYTES)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded
