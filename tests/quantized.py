"""Small checkpoints quantized in every way that can be written here, as people publish them."""

import json
import shutil
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, TorchAoConfig

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.quiet import quiet
from pytest_injectivity.testing import byte_tokenizer, save_checkpoint, tiny_decoder

NEEDED = {
    "bnb": ("bitsandbytes", "accelerate"),
    "torchao": ("torchao",),
    "ct": ("compressed_tensors",),
    "gguf": ("gguf", "accelerate"),
}
# What shares a scale; a benchmark on models of other widths sets its own.
GROUP = 32
FLOAT8_BLOCK = 32
# Values of a block of GGUF's legacy types.
_GGUF_BLOCK = 32


# A run of pytest inside a test forgets what was first imported in it, and a second import of
# bitsandbytes fails: its operators are registered already.
if find_spec("bitsandbytes") is not None:
    with quiet():
        import_module("bitsandbytes")


def needs(kind: str) -> None:
    """Skips a test whose kind's packages are not installed."""
    for name in NEEDED.get(kind.partition("-")[0], ()):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed: checkpoints of kind {kind} cannot be read")


def parent(**settings: Any) -> Decoder:
    """A small Llama over bytes, whose widths every group size divides."""
    shape = {"hidden": 64, "layers": 2, "vocab": 256, "tokenizer": byte_tokenizer()}
    return tiny_decoder("llama", **{**shape, **settings})


def write(kind: str, full: Path, folder: Path) -> Path:
    """Quantizes a checkpoint.

    Args:
        kind: one of `KINDS`.
        full: the folder of a Llama in full precision.
        folder: where it is written.

    Returns:
        What `load_decoder` is given.
    """
    with quiet():
        return KINDS[kind](full, folder)


def configure(folder: Path, **values: Any) -> None:
    """Changes a folder's configuration."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def _by_library(settings: Callable[[], Any]) -> Callable[[Path, Path], Path]:
    def quantize(full: Path, folder: Path) -> Path:
        shutil.copytree(full, folder)
        loader: Any = AutoModelForCausalLM.from_pretrained
        # Saved before any forward pass: bitsandbytes loses its scales in one.
        loader(full, quantization_config=settings()).save_pretrained(folder)
        return folder

    return quantize


def by_bitsandbytes(**settings: Any) -> Callable[[Path, Path], Path]:
    """What quantizes a folder with these settings of bitsandbytes."""
    return _by_library(lambda: BitsAndBytesConfig(**settings))


def _torchao(name: str, **settings: Any) -> Callable[[Path, Path], Path]:
    def made() -> Any:
        from torchao import quantization
        from torchao.quantization.granularity import PerGroup

        given = {"granularity": PerGroup(GROUP), **settings} if settings else {}
        return TorchAoConfig(getattr(quantization, name)(**given))

    return _by_library(made)


def _compressed(scheme: str, *, attention: bool = False) -> Callable[[Path, Path], Path]:
    """Rounded to nearest, the way the scheme's own tools do without data.

    Args:
        scheme: a preset of the library.
        attention: keys and values are rounded to 8 bits too, as the model runs.
    """

    def quantize(full: Path, folder: Path) -> Path:
        from compressed_tensors.compressors import ModelCompressor
        from compressed_tensors.quantization import (
            QuantizationArgs,
            QuantizationConfig,
            QuantizationStatus,
            apply_quantization_config,
            preset_name_to_scheme,
        )
        from compressed_tensors.quantization.utils import calculate_qparams, is_module_quantized

        shutil.copytree(full, folder)
        model = AutoModelForCausalLM.from_pretrained(full)
        preset = preset_name_to_scheme(scheme, ["Linear"])
        if preset.weights.group_size:
            preset.weights.group_size = GROUP
        settings = QuantizationConfig(
            config_groups={"all": preset},
            ignore=["lm_head"],
            kv_cache_scheme=QuantizationArgs(num_bits=8, symmetric=True) if attention else None,
            quantization_status=QuantizationStatus.INITIALIZED,
        )
        apply_quantization_config(model, settings, show_progress=False)
        if attention and not any(hasattr(module, "k_scale") for module in model.modules()):
            pytest.skip("this compressed-tensors rounds no keys of this transformers' attention")
        for module in filter(is_module_quantized, model.modules()):
            if not hasattr(module, "weight"):
                module.k_scale.data.fill_(0.02)
                module.v_scale.data.fill_(0.02)
                module.quantization_status = QuantizationStatus.FROZEN
                continue
            told, weight = module.quantization_scheme.weights, module.weight.data
            rows = weight.unflatten(-1, (-1, told.group_size or weight.shape[1]))
            scale, zero = calculate_qparams(rows.amin(-1), rows.amax(-1), told)
            module.weight_scale.data = scale.view_as(module.weight_scale).to(weight.dtype)
            if hasattr(module, "weight_zero_point"):
                held = module.weight_zero_point
                held.data = zero.view_as(held).to(held.dtype)
            module.quantization_status = QuantizationStatus.FROZEN
        compressor = ModelCompressor.from_pretrained_model(model)
        compressor.compress_model(model)
        model.save_pretrained(folder)
        compressor.update_config(folder)
        return folder

    return quantize


def _rewritten(
    full: Path, folder: Path, pack: Callable[[str, Tensor], dict[str, Tensor]], **config: Any
) -> Path:
    """Every matrix of the blocks replaced by what ``pack`` makes of it."""
    shutil.copytree(full, folder)
    tensors: dict[str, Tensor] = {}
    for name, tensor in load_file(full / "model.safetensors").items():
        matrix = ".layers." in name and tensor.ndim == 2
        tensors |= pack(name, tensor) if matrix else {name: tensor}
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(whole, folder / "model.safetensors", metadata={"format": "pt"})
    configure(folder, quantization_config=config)
    return folder


def _float8(full: Path, folder: Path) -> Path:
    """The layout of DeepSeek and Qwen: blocks that share a scale."""

    def pack(name: str, weight: Tensor) -> dict[str, Tensor]:
        size = FLOAT8_BLOCK
        blocks = weight.unflatten(1, (-1, size)).unflatten(0, (-1, size))
        scale = blocks.abs().amax((1, 3)) / torch.finfo(torch.float8_e4m3fn).max
        scaled = (blocks / scale[:, None, :, None]).reshape(weight.shape)
        return {name: scaled.to(torch.float8_e4m3fn), f"{name}_scale_inv": scale}

    settings = {"activation_scheme": "dynamic", "weight_block_size": [FLOAT8_BLOCK] * 2}
    return _rewritten(full, folder, pack, quant_method="fp8", fmt="e4m3", **settings)


def _grid(weight: Tensor) -> tuple[Tensor, Tensor]:
    """4-bit codes and scales of groups of inputs, ``(inputs, outputs)`` and ``(groups, outputs)``."""
    groups = weight.float().T.unflatten(0, (-1, GROUP))
    scales = (groups.abs().amax(1) / 7).half()
    codes = (torch.round(groups / scales.float()[:, None]) + 8).clamp(0, 15)
    return codes.flatten(0, 1).long(), scales


def _words(codes: Tensor) -> Tensor:
    """Eight 4-bit codes of the last dimension in one 32-bit word."""
    words = (codes << 4 * torch.arange(8)).sum(-1)
    return torch.where(words >= 2**31, words - 2**32, words).int()


def _gptq(full: Path, folder: Path) -> Path:
    def pack(name: str, weight: Tensor) -> dict[str, Tensor]:
        layer, (codes, scales) = name.removesuffix(".weight"), _grid(weight)
        zeros = torch.full((len(scales), weight.shape[0] // 8, 8), 7)  # the format keeps one less
        return {
            f"{layer}.qweight": _words(codes.unflatten(0, (-1, 8)).transpose(1, 2)),
            f"{layer}.qzeros": _words(zeros),
            f"{layer}.scales": scales,
            f"{layer}.g_idx": (torch.arange(len(codes)) // GROUP).int(),
        }

    settings = {"desc_act": False, "sym": True, "checkpoint_format": "gptq", "lm_head": False}
    return _rewritten(full, folder, pack, quant_method="gptq", bits=4, group_size=GROUP, **settings)


def _awq(full: Path, folder: Path) -> Path:
    order = [0, 2, 4, 6, 1, 3, 5, 7]

    def pack(name: str, weight: Tensor) -> dict[str, Tensor]:
        layer, (codes, scales) = name.removesuffix(".weight"), _grid(weight)
        zeros = torch.full((len(scales), weight.shape[0] // 8, 8), 8)
        return {
            f"{layer}.qweight": _words(codes.unflatten(1, (-1, 8))[..., order]),
            f"{layer}.qzeros": _words(zeros),
            f"{layer}.scales": scales,
        }

    settings = {"version": "gemm", "zero_point": True}
    return _rewritten(full, folder, pack, quant_method="awq", bits=4, group_size=GROUP, **settings)


_GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "model.layers": "blk",
}


def as_gguf(form: str) -> Callable[[Path, Path], Path]:
    """A file as llama.cpp's converter writes it: queries and keys in its order of rotary pairs."""

    def quantize(full: Path, folder: Path) -> Path:
        from gguf import GGMLQuantizationType, GGUFWriter, quants

        config = json.loads((full / "config.json").read_text())
        if config["model_type"] != "llama":
            raise ValueError(f"a {config['model_type']} is not written as GGUF here, only a llama")
        heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
        folder.mkdir()
        path = folder / f"model-{form}.gguf"
        writer = GGUFWriter(path, "llama")
        writer.add_context_length(config["max_position_embeddings"])
        writer.add_embedding_length(config["hidden_size"])
        writer.add_block_count(config["num_hidden_layers"])
        writer.add_feed_forward_length(config["intermediate_size"])
        writer.add_head_count(heads["q_proj"])
        writer.add_head_count_kv(heads["k_proj"])
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
        rope = config.get("rope_parameters") or config
        writer.add_rope_freq_base(rope["rope_theta"])
        writer.add_vocab_size(config["vocab_size"])
        _gguf_tokenizer(writer, full)
        for name, tensor in load_file(full / "model.safetensors").items():
            rows = tensor.numpy()
            for part, count in heads.items():
                if part in name:
                    pairs = rows.reshape(count, 2, -1, rows.shape[1]).swapaxes(1, 2)
                    rows = np.ascontiguousarray(pairs.reshape(rows.shape))
            block = ".layers." in name and rows.ndim == 2
            fits = block and not rows.shape[1] % _GGUF_BLOCK
            kind = GGMLQuantizationType[form if fits else "F32"]
            for ours, theirs in _GGUF_NAMES.items():
                name = name.replace(ours, theirs)  # noqa: PLW2901 - renamed step by step
            writer.add_tensor(name, quants.quantize(rows, kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return quantize


def _gguf_tokenizer(writer: Any, full: Path) -> None:
    if not (full / "tokenizer.json").exists():
        return
    model = json.loads((full / "tokenizer.json").read_text())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * len(tokens))
    writer.add_token_scores([0.0] * len(tokens))


KINDS: dict[str, Callable[[Path, Path], Path]] = {
    "bnb-nf4": by_bitsandbytes(load_in_4bit=True, bnb_4bit_quant_type="nf4"),
    "bnb-fp4": by_bitsandbytes(load_in_4bit=True, bnb_4bit_quant_type="fp4"),
    "bnb-double": by_bitsandbytes(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True
    ),
    "bnb-int8": by_bitsandbytes(load_in_8bit=True),
    "torchao-int8": _torchao("Int8WeightOnlyConfig"),
    "torchao-int4": _torchao("IntxWeightOnlyConfig", weight_dtype=torch.int4),
    "torchao-float8": _torchao("Float8WeightOnlyConfig"),
    "torchao-dynamic": _torchao("Int8DynamicActivationInt8WeightConfig"),
    "ct-W4A16": _compressed("W4A16"),
    "ct-W8A16": _compressed("W8A16"),
    "ct-W8A8": _compressed("W8A8"),
    "ct-FP8_DYNAMIC": _compressed("FP8_DYNAMIC"),
    "ct-W8A16-KV8": _compressed("W8A16", attention=True),
    "fp8": _float8,
    "gguf-Q8_0": as_gguf("Q8_0"),
    "gguf-Q4_0": as_gguf("Q4_0"),
    "gptq": _gptq,
    "awq": _awq,
}
"""Each kind: what writes a folder, or a file in it, from a folder in full precision."""


def saved_parent(folder: Path, **settings: Any) -> Path:
    """The folder of `parent`."""
    return save_checkpoint(parent(**settings), folder)
