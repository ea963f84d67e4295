"""Quantize a model with AutoRound; save it as it would be published, and its dense weights beside it.

    python scripts/tools/with_autoround.py MODEL SCHEME OUT

SCHEME is `FORMAT:PRESET[:OPTION=NUMBER...]`: an export format and a preset of AutoRound, such as
`auto_round:W4A16`, `auto_gptq:W4A16:sym=0` or `llm_compressor:NVFP4`. The dense weights,
`OUT.dense.safetensors`, are what the layers that AutoRound itself loads from the folder multiply by
(each is given the identity matrix), or what its own function makes of AWQ's layout. Runs in the
environment that `./dev tools autoround` makes.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from auto_round import AutoRound
from auto_round.export.export_to_awq.utils import dequantize_gemm
from auto_round_extension.torch.qlinear_torch_zp import QuantLinear
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXT = "The function returns a list of all the names in the module. " * 3
Weights = dict[str, torch.Tensor]
PACKED = {"qweight", "weight_packed"}


def quantize(folder: str, scheme: str, out: Path) -> None:
    """Quantize the model of a folder with two steps of tuning and export it."""
    style, preset, *options = scheme.split(":")
    chosen = {name: int(value) for name, _, value in (option.partition("=") for option in options)}
    if "sym" in chosen:
        chosen["sym"] = bool(chosen["sym"])
    ids = AutoTokenizer.from_pretrained(folder)(TEXT, return_tensors="pt")["input_ids"][:, :32]
    tuned = {"iters": 2, "nsamples": 4, "seqlen": 32, "batch_size": 2, "dataset": [ids] * 4}
    tool = AutoRound(folder, scheme=preset, device_map="cpu", **tuned, **chosen)
    with tempfile.TemporaryDirectory() as made:
        tool.quantize_and_save(made, format=style)
        saved = next(Path(made).rglob("config.json")).parent  # AutoRound makes a folder inside
        shutil.copytree(saved, out, dirs_exist_ok=True)


def loaded(out: Path) -> nn.Module:
    """Return the model of the exported folder as AutoRound and transformers load it.

    Raises:
        RuntimeError: A parameter is not in the folder, so that the loader has drawn it.
    """
    model, said = AutoModelForCausalLM.from_pretrained(
        out, dtype="auto", device_map="cpu", output_loading_info=True
    )
    if said["missing_keys"]:
        raise RuntimeError(
            f"{out}: parameters that the tool's own loader draws: {said['missing_keys']}"
        )
    if hasattr(model.hf_quantizer, "compressor"):
        model.hf_quantizer.compressor.decompress_model(model)
    return model


def by_the_loader(out: Path) -> Weights:
    """Return the parameters of the exported folder as the layers that are loaded from it use them."""
    model, dense = loaded(out), {}
    for name, layer in model.named_modules():
        held = dict(layer.named_parameters(recurse=False)) | dict(
            layer.named_buffers(recurse=False)
        )
        if hasattr(
            layer, "dequant_weight_online"
        ):  # it rounds activations: no use for the identity
            dense[f"{name}.weight"] = layer.dequant_weight_online().to(model.dtype)
            held.pop("weight", None)
        elif PACKED & set(held):
            width = getattr(layer, "infeatures", getattr(layer, "in_features", None))
            with torch.no_grad():
                dense[f"{name}.weight"] = layer(torch.eye(width, dtype=model.dtype)).T.contiguous()
        for part in {"weight", "bias"} & set(held):
            if f"{name}.{part}" != "lm_head.weight":
                dense[f"{name}.{part}"] = held[part].detach().clone()
    return dense


def by_its_functions(out: Path, said: dict[str, Any]) -> Weights:
    """Return the parameters of a folder packed as GPTQ or AWQ by AutoRound's own layer or function.

    transformers hands a folder of GPTQ to another library, and AutoRound 0.16.1 does not load AWQ's
    layout on a CPU: the layers stay plain and are drawn.
    """
    stored = load_file(out / "model.safetensors")
    bits, group = said["bits"], said["group_size"]
    dtype = getattr(torch, json.loads((out / "config.json").read_text())["dtype"])
    dense = {}
    for name, tensor in stored.items():
        stem, _, last = name.rpartition(".")
        if last in {"weight", "bias"}:
            dense[name] = tensor.to(dtype)
        if last != "qweight":
            continue
        packed = [stored[f"{stem}.{part}"] for part in ("qweight", "qzeros", "scales")]
        if is_awq(said):
            dense[f"{stem}.weight"] = dequantize_gemm(*packed, bits, group).T.to(dtype)
            continue
        width, outputs = tensor.shape[0] * 32 // bits, tensor.shape[1]
        layer = QuantLinear(bits, group, width, outputs, bias=False)
        layer.qweight, layer.qzeros, layer.scales = packed
        dense[f"{stem}.weight"] = layer(torch.eye(width, dtype=torch.float16)).T.to(dtype)
    return dense


def is_awq(said: dict[str, Any]) -> bool:
    """Return whether the layout is AWQ's, as AutoRound's own is for asymmetric 4 bits."""
    return "awq" in said["quant_method"] + said.get("packing_format", "")


def dense_weights(out: Path) -> Weights:
    """Return the parameters of the exported folder, dense."""
    said = json.loads((out / "config.json").read_text())["quantization_config"]
    if is_awq(said) or said["quant_method"] == "gptq":
        return by_its_functions(out, said)
    return by_the_loader(out)


if __name__ == "__main__":
    source, wanted, target = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    quantize(source, wanted, target)
    dense = {name: tensor.contiguous() for name, tensor in dense_weights(target).items()}
    save_file(dense, f"{target}.dense.safetensors")
