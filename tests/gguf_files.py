"""Writes small decoders as ``.gguf`` files, as llama.cpp's converter does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_injectivity.models.decoder import Decoder

Value = bool | int | float | str | list[float] | list[bool]

ARCHITECTURES = {
    "gpt2": "gpt2",
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "phi3": "phi3",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
}
"""The architecture that the files of a family name, by the family."""

_OFFSET_NORMS = ("gemma2", "gemma3")


def described(decoder: Decoder) -> dict[str, Value]:
    """The entries of the metadata that every file of a decoder has, without the architecture's name."""
    config: Any = decoder.model.config
    if decoder.family.name == "gpt2":
        return {
            "context_length": config.n_positions,
            "embedding_length": config.n_embd,
            "block_count": config.n_layer,
            "feed_forward_length": 4 * config.n_embd,
            "attention.head_count": config.n_head,
            "attention.layer_norm_epsilon": config.layer_norm_epsilon,
            "vocab_size": config.vocab_size,
        }
    rope = config.rope_parameters
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    found: dict[str, Value] = {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "attention.key_length": width,
        "attention.value_length": width,
        "rope.freq_base": float(rope.get("full_attention", rope)["rope_theta"]),
        "vocab_size": config.vocab_size,
    }
    if decoder.family.name == "phi3":
        found["tokenizer.ggml.padding_token_id"] = 0  # the library's own lies beyond a small table
    if "sliding_attention" in rope:
        found["rope.freq_base_swa"] = float(rope["sliding_attention"]["rope_theta"])
    for name in ("attn_logit_softcapping", "final_logit_softcapping"):
        if getattr(config, name, None):
            found[name] = float(getattr(config, name))
    if getattr(config, "query_pre_attn_scalar", None):
        found["attention.scale"] = float(config.query_pre_attn_scalar) ** -0.5
    window = getattr(config, "sliding_window", None)
    if window and decoder.family.name not in {"qwen2", "qwen3"}:
        found["attention.sliding_window"] = window
    if getattr(config, "layer_types", None) and decoder.family.name.startswith("gemma"):
        windows = [kind == "sliding_attention" for kind in config.layer_types]
        found["attention.sliding_window_pattern"] = windows
    return found


def write_gguf(
    decoder: Decoder,
    path: Path,
    *,
    entries: Mapping[str, Value | None] | None = None,
    tensors: Mapping[str, np.ndarray] | None = None,
    kinds: Mapping[str, str] | None = None,
    raw: Mapping[str, tuple[np.ndarray, Any]] | None = None,
) -> Path:
    """Writes a decoder as a file.

    Args:
        decoder: of a family in `ARCHITECTURES`.
        path: where it is written.
        entries: of the metadata, beside or in place of those in `described`; None leaves one out.
        tensors: beside or in place of the decoder's, by the names of the file.
        kinds: the types of tensors that are not F32, by the names of the file.
        raw: bytes of blocks and their type, in place of the decoder's tensors of these names.
    """
    pytest.importorskip("gguf")
    from gguf import GGMLQuantizationType, GGUFWriter, quants

    architecture = ARCHITECTURES[decoder.family.name]
    writer = GGUFWriter(path, architecture)
    for name, value in {**described(decoder), **(entries or {})}.items():
        if value is not None:
            key = (
                name
                if name.startswith(("general.", "split.", "tokenizer."))
                else f"{architecture}.{name}"
            )
            _add(writer, key, value)
    for name, (blocks, form) in (raw or {}).items():
        writer.add_tensor(name, blocks, raw_dtype=form)
    for name, rows in {**stored(decoder), **(tensors or {})}.items():
        if name in (raw or {}):
            continue
        kind = GGMLQuantizationType[(kinds or {}).get(name, "F32")]
        writer.add_tensor(name, quants.quantize(rows, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def stored(decoder: Decoder) -> dict[str, np.ndarray]:
    """The decoder's matrices as its file holds them, by the names of the file."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    architecture = ARCHITECTURES[decoder.family.name]
    number = next(key for key, name in MODEL_ARCH_NAMES.items() if name == architecture)
    table = get_tensor_name_map(number, decoder.n_layers)
    config: Any = decoder.model.config
    found = {}
    for name, parameter in decoder.model.named_parameters():
        stem, _, end = name.rpartition(".")
        rows = parameter.detach().float().numpy()
        if architecture == "llama" and stem.endswith((".q_proj", ".k_proj")):
            heads = (
                config.num_attention_heads
                if stem.endswith(".q_proj")
                else config.num_key_value_heads
            )
            rows = rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)
        if architecture == "gpt2" and stem.endswith(("c_attn", "c_proj", "c_fc")):
            rows = rows.T
        if architecture in _OFFSET_NORMS and rows.ndim == 1:
            rows = rows + 1
        found[f"{table.get_name(stem)}.{end}"] = np.ascontiguousarray(rows)
    return found


def _add(writer: Any, key: str, value: Value) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)
