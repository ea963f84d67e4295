"""Quantize a model with NVIDIA ModelOpt; save it as it would be published, and its dense weights.

    python scripts/tools/with_modelopt.py MODEL SCHEME OUT

SCHEME is the name of one of ModelOpt's configurations, such as `NVFP4_DEFAULT_CFG`,
`FP8_DEFAULT_CFG` or `INT4_AWQ_CFG`. The dense weights, `OUT.dense.safetensors`, are what ModelOpt's
own tensor classes make of the exported codes and scales. Runs in the environment that `./dev tools
modelopt` makes.
"""

import copy
import sys
from collections.abc import Callable
from pathlib import Path

import modelopt.torch.quantization as mtq
import torch
from modelopt.torch.export import export_hf_checkpoint
from modelopt.torch.export.quant_utils import from_quantized_weight
from modelopt.torch.quantization.qtensor import (
    FP8QTensor,
    MXFP4QTensor,
    MXFP8QTensor,
    NVFP4QTensor,
)
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = [
    "The function returns a list of all the names in the module.",
    "import os, sys, re and json",
] * 4
Weights = dict[str, torch.Tensor]


def quantize(folder: str, scheme: str, out: Path) -> torch.dtype:
    """Quantize the model of a folder, export it with its tokenizer, and return the model's type."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def calibrate(model: torch.nn.Module) -> None:
        for text in TEXTS:
            model(**tokenizer(text, return_tensors="pt"))

    config = copy.deepcopy(getattr(mtq, scheme))
    mtq.quantize(model, config, calibrate)
    export_hf_checkpoint(model, export_dir=out)
    tokenizer.save_pretrained(out)
    return model.dtype


def nvfp4(weight: torch.Tensor, scales: Weights, dtype: torch.dtype) -> torch.Tensor:
    """Return the dense weight of a matrix of NVFP4 codes."""
    shape = torch.Size((weight.shape[0], weight.shape[1] * 2))
    return NVFP4QTensor(shape, dtype, weight).dequantize(
        scale=scales["weight_scale"], double_scale=scales["weight_scale_2"], block_sizes={-1: 16}
    )


def fp8(weight: torch.Tensor, scales: Weights, dtype: torch.dtype) -> torch.Tensor:
    """Return the dense weight of an fp8 matrix with one scale, one an output, or one a block."""
    scale = scales["weight_scale"]
    quantized = FP8QTensor(weight.shape, dtype, weight)
    if scale.ndim > 1:  # [outputs / block, 1, inputs / block, 1]
        scale = scale[:, 0, :, 0]
        blocks = {-1: weight.shape[1] // scale.shape[1], -2: weight.shape[0] // scale.shape[0]}
        return quantized.dequantize(scale=scale, block_sizes=blocks)
    return quantized.dequantize(scale=scale[:, None] if scale.ndim else scale)


def int8(weight: torch.Tensor, scales: Weights, dtype: torch.dtype) -> torch.Tensor:
    """Return the dense weight of an int8 matrix with one scale an output."""
    return from_quantized_weight(weight, scales["weight_scale"], "int8_wo", dtype)


def mxfp4(weight: torch.Tensor, scales: Weights, dtype: torch.dtype) -> torch.Tensor:
    """Return the dense weight of a matrix of MXFP4 codes."""
    shape = torch.Size((weight.shape[0], weight.shape[1] * 2))
    quantized = MXFP4QTensor(shape, dtype, weight)
    return quantized.dequantize(scale=scales["weight_scale"], block_sizes={-1: 32})


def mxfp8(weight: torch.Tensor, scales: Weights, dtype: torch.dtype) -> torch.Tensor:
    """Return the dense weight of a matrix of MXFP8 codes."""
    return MXFP8QTensor(weight.shape, dtype, weight).dequantize(scale=scales["weight_scale"])


def int4(weight: torch.Tensor, scales: Weights, dtype: torch.dtype) -> torch.Tensor:
    """Return the dense weight of signed 4-bit codes, two outputs a byte, the even one low.

    ModelOpt writes this layout (`pack_int4_in_uint8`) and has no function that reads it back.
    """
    halves = torch.stack((weight & 15, weight >> 4), dim=1).reshape(-1, weight.shape[1])
    codes = (halves.to(torch.int8) ^ 8) - 8
    scale = scales[
        "weight_scale"
    ].float()  # weight_scale_2, where there is one, is for its fp8 products
    dense = codes.float() * scale.repeat_interleave(codes.shape[1] // scale.shape[1], dim=1)
    if "pre_quant_scale" in scales:  # of the inputs, so of the columns
        dense = dense * scales["pre_quant_scale"].float()
    return dense.to(dtype)


def decoder_of(scheme: str) -> Callable[[torch.Tensor, Weights, torch.dtype], torch.Tensor]:
    """Return the function that makes the codes of a scheme dense."""
    return next(
        (function for start, function in DECODERS.items() if scheme.startswith(start)), nvfp4
    )


DECODERS = {
    "INT4": int4,
    "W4A8_AWQ": int4,
    "MXFP8": mxfp8,
    "MXFP4": mxfp4,
    "INT8": int8,
    "FP8": fp8,
}


def dense_weights(out: Path, scheme: str, dtype: torch.dtype) -> Weights:
    """Return the parameters of the exported folder, each quantized matrix made dense by ModelOpt."""
    stored = load_file(out / "model.safetensors")
    dense = {}
    for name, tensor in stored.items():
        stem, _, last = name.rpartition(".")
        scales = {n[len(stem) + 1 :]: t for n, t in stored.items() if n.startswith(stem + ".")}
        if last == "weight":
            quantized = "weight_scale" in scales
            dense[name] = decoder_of(scheme)(tensor, scales, dtype) if quantized else tensor
        elif last == "bias":
            dense[name] = tensor
    return dense


if __name__ == "__main__":
    source, wanted, target = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    kept = quantize(source, wanted, target)
    save_file(dense_weights(target, wanted, kept), f"{target}.dense.safetensors")
