"""Quantized experts: stored one by one, and as stacks of blocks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.models.quiet import quiet
from scripts.families.small_models import small_config, small_model
from tests.encoders import ENCODERS, Encoder
from tests.layouts import Tensors, fp8_of_rows, mxfp4

ROW = torch.arange(5, 45)[None]
SIZES = {"hidden_size": 64, "intermediate_size": 64, "moe_intermediate_size": 64}


def _saved(kind: str, folder: Path) -> Path:
    config: Any = small_config(kind)
    for name, size in SIZES.items():
        if hasattr(config, name):
            setattr(config, name, size)
    with quiet():
        small_model(config).save_pretrained(folder)
    return folder


def _rewrite(folder: Path, change: Callable[[Tensors], Tensors], quantized: Any) -> None:
    tensors = {
        name: one.contiguous()
        for name, one in change(load_file(folder / "model.safetensors")).items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), "quantization_config": quantized}
    path.write_text(json.dumps(config))


def _one_by_one(folder: Path, encoder: Encoder) -> Tensors:
    """Every expert's matrices encoded; what they stand for, under the same names."""
    dense: Tensors = {}

    def encoded(tensors: Tensors) -> Tensors:
        found: Tensors = {}
        for name, one in tensors.items():
            if ".experts." not in name:
                found[name] = one
                continue
            parts, dense[name] = encoder.encode(one)
            stem = name.removesuffix("weight")
            found |= {stem + end: part for end, part in parts.items()}
        return found

    _rewrite(folder, encoded, encoder.config)
    return dense


@pytest.mark.parametrize("name", ["ct-NVFP4A16", "modelopt-NVFP4", "ct-MXFP8A16", "gptq-8"])
def test_experts_that_are_stored_one_by_one(name: str, tmp_path: Path) -> None:
    """The library merges the decoded matrices; no expert loses its global scale."""
    folder = _saved("qwen3_moe", tmp_path / "coded")
    plain = _saved("qwen3_moe", tmp_path / "plain")
    dense = _one_by_one(folder, ENCODERS[name])
    assert dense
    _rewrite(plain, lambda tensors: {**tensors, **dense}, None)
    found, wanted = (load_decoder(str(path), device="cpu") for path in (folder, plain))
    assert found.quantized is not None
    assert 0.5 < found.quantized.share < 1.0
    assert found.states(ROW, ["norm"])["norm"].equal(wanted.states(ROW, ["norm"])["norm"])


def test_an_expert_without_its_global_scale_is_refused(tmp_path: Path) -> None:
    """The message names it."""
    folder = _saved("qwen3_moe", tmp_path / "coded")
    _one_by_one(folder, ENCODERS["ct-NVFP4A16"])
    tensors = load_file(folder / "model.safetensors")
    lost = min(name for name in tensors if name.endswith("weight_global_scale"))
    kept = {name: one for name, one in tensors.items() if name != lost}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"experts\.0\.\w+ has .* and no weight_global_scale"):
        load_decoder(str(folder), device="cpu")


def _blocks(folder: Path) -> Tensors:
    """Stacks as gpt-oss is published in: rows are outputs, blocks of 32 inputs in 16 bytes."""
    dense: Tensors = {}

    def encoded(tensors: Tensors) -> Tensors:
        found: Tensors = {}
        for name, one in tensors.items():
            if not name.endswith(("gate_up_proj", "down_proj")) or one.ndim < 3:
                found[name] = one
                continue
            coded = [mxfp4(matrix.T) for matrix in one]
            whole = [torch.stack([parts[end] for parts, _ in coded]) for end in _ENDS]
            found[f"{name}_blocks"] = whole[0].unflatten(-1, (-1, 16))  # type: ignore[no-untyped-call]
            found[f"{name}_scales"] = whole[1]
            dense[name] = torch.stack([matrix.T for _, matrix in coded])
        return found

    _rewrite(folder, encoded, {"quant_method": "mxfp4"})
    return dense


_ENDS = ("weight_packed", "weight_scale")


def test_gpt_oss_in_blocks(tmp_path: Path) -> None:
    """Every expert's matrix to the last bit, and the states of a model that holds them plainly."""
    folder, plain = _saved("gpt_oss", tmp_path / "coded"), _saved("gpt_oss", tmp_path / "plain")
    dense = _blocks(folder)
    assert 6 == len(dense)
    _rewrite(plain, lambda tensors: {**tensors, **dense}, None)
    found, wanted = (load_decoder(str(path), device="cpu") for path in (folder, plain))
    held = dict(found.model.named_parameters())
    assert {} == {name: one for name, one in dense.items() if not held[name].equal(one)}
    assert found.quantized is not None
    assert ("mxfp4 MXFP4", 4) == (found.quantized.kind, found.quantized.bits)
    assert found.states(ROW, ["norm"])["norm"].equal(wanted.states(ROW, ["norm"])["norm"])


def test_gpt_oss_in_blocks_is_the_librarys(tmp_path: Path) -> None:
    """The library's own decoding gives the same numbers."""
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    folder = _saved("gpt_oss", tmp_path / "coded")
    dense = _blocks(folder)
    tensors = load_file(folder / "model.safetensors")

    def library(name: str) -> Tensor:
        blocks, scales = tensors[f"{name}_blocks"], tensors[f"{name}_scales"]
        decoded: Tensor = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
        return decoded

    assert {} == {name: one for name, one in dense.items() if not library(name).equal(one)}


def test_blocks_without_scales_are_refused(tmp_path: Path) -> None:
    """The message names the stack."""
    folder = _saved("gpt_oss", tmp_path / "coded")
    _blocks(folder)
    tensors = load_file(folder / "model.safetensors")
    kept = {name: one for name, one in tensors.items() if not name.endswith("up_proj_scales")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"gate_up_proj has .*gate_up_proj_blocks and no scales"):
        load_decoder(str(folder), device="cpu")


def test_experts_of_codes_that_nothing_decodes_are_refused(tmp_path: Path) -> None:
    """The library merges experts under names of its own, where codes would pass for numbers."""
    folder, attention = _saved("qwen3_moe", tmp_path / "coded"), ENCODERS["gptq-8"]

    def encoded(tensors: Tensors) -> Tensors:
        found: Tensors = {}
        for name, one in tensors.items():
            if ".experts." in name:
                found[name] = one.to(torch.float8_e4m3fn)
            elif name.endswith("_proj.weight"):
                stem = name.removesuffix("weight")
                found |= {stem + end: part for end, part in attention.encode(one)[0].items()}
            else:
                found[name] = one
        return found

    _rewrite(folder, encoded, attention.config)
    with pytest.raises(
        ModelError, match=r"codes of a quantization where the model has numbers: .*experts\.0"
    ):
        load_decoder(str(folder), device="cpu")


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "gemma3"])
def test_rounded_activations_of_models_that_also_see(kind: str, tmp_path: Path) -> None:
    """The library renames their blocks; the matrices decoded here find them all the same."""
    pytest.importorskip("compressed_tensors")
    folder, plain = _saved(kind, tmp_path / "coded"), _saved(kind, tmp_path / "plain")
    eight = {"num_bits": 8, "type": "float", "symmetric": True}
    scheme = {
        "targets": ["Linear"],
        "weights": {**eight, "strategy": "channel"},
        "input_activations": {**eight, "strategy": "token", "dynamic": True},
    }
    dense: Tensors = {}

    def encoded(tensors: Tensors) -> Tensors:
        found: Tensors = {}
        for name, one in tensors.items():
            if ".layers." not in name or "vis" in name or not name.endswith("_proj.weight"):
                found[name] = one
                continue
            parts, dense[name] = fp8_of_rows(one)
            found |= {name.removesuffix("weight") + end: part for end, part in parts.items()}
        return found

    config = {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "quantization_status": "compressed",
        "ignore": ["re:.*lm_head", "re:.*vis.*"],
        "config_groups": {"all": scheme},
    }
    _rewrite(folder, encoded, config)
    _rewrite(plain, lambda tensors: {**tensors, **dense}, None)
    found, wanted = (load_decoder(str(path), device="cpu") for path in (folder, plain))
    assert len(dense) == 21
    assert found.quantized is not None
    assert found.quantized.rounds_activations
    held = dict(found.model.named_parameters())
    assert {} == {
        name: one for name, one in wanted.model.named_parameters() if not held[name].equal(one)
    }


def test_a_quantized_tower_proves_nothing_of_the_text_decoder(tmp_path: Path) -> None:
    """Token ids never reach it: a model whose blocks are plain is refused."""
    folder = _saved("qwen2_5_vl", tmp_path / "coded")
    coded: list[str] = []

    def encoded(tensors: Tensors) -> Tensors:
        found: Tensors = {}
        for name, one in tensors.items():
            if "visual.blocks" not in name or one.ndim != 2:
                found[name] = one
                continue
            coded.append(name)
            parts, _ = fp8_of_rows(one)
            found |= {name.removesuffix("weight") + end: part for end, part in parts.items()}
        return found

    _rewrite(folder, encoded, {**ENCODERS["ct-MXFP8A16"].config, "format": "float-quantized"})
    assert coded
    with pytest.raises(ModelError, match=r"says that it is quantized .* plain weights"):
        load_decoder(str(folder), device="cpu")
