"""Quantize a model with llmcompressor; save it as it would be published, and its dense weights.

    python scripts/tools/with_llmcompressor.py MODEL SCHEME OUT

SCHEME is a preset of compressed-tensors (NVFP4A16, W4A16, FP8_DYNAMIC, ...) or `MIXED`: NVFP4A16 in
the attention and FP8_DYNAMIC in the MLP. The dense weights, `OUT.dense.safetensors`, are what
compressed-tensors itself makes of the saved folder. Runs in the environment that `./dev tools
llmcompressor` makes.
"""

import sys
from pathlib import Path

import torch
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import QuantizationModifier
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

NEED_TEXTS = {
    "NVFP4",
    "FP8",
    "MIXED_STATIC",
}  # their activations' scales are measured, not computed
TEXTS = [
    "The function returns a list of all the names in the module.",
    "import os, sys, re and json",
] * 8
ATTENTION = [r"re:.*self_attn\.[qkvo]_proj$"]
MLP = [r"re:.*mlp\.(gate|up|down)_proj$"]


def modifier(scheme: str) -> QuantizationModifier:
    """Return the recipe of a scheme: every linear layer but the head."""
    if scheme == "MIXED":
        return QuantizationModifier(
            scheme={"NVFP4A16": ATTENTION, "FP8_DYNAMIC": MLP}, ignore=["lm_head"]
        )
    return QuantizationModifier(targets="Linear", scheme=scheme, ignore=["lm_head"])


def texts(folder: str) -> Dataset:
    """Return a few texts as token ids, for the scales of activations."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return Dataset.from_list(
        [
            {"input_ids": ids, "attention_mask": [1] * len(ids)}
            for ids in tokenizer(TEXTS)["input_ids"]
        ]
    )


def quantize(folder: str, scheme: str, out: Path) -> None:
    """Quantize the model of a folder and save it with its tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    calibration = (
        {"dataset": texts(folder), "num_calibration_samples": 16} if scheme in NEED_TEXTS else {}
    )
    oneshot(model=model, recipe=modifier(scheme), tokenizer=folder, **calibration)
    model.save_pretrained(out, save_compressed=True)
    AutoTokenizer.from_pretrained(folder).save_pretrained(out)


def dense_weights(out: Path) -> dict[str, torch.Tensor]:
    """Return the parameters of the saved folder after compressed-tensors' own decompression."""
    model = AutoModelForCausalLM.from_pretrained(out, dtype="auto")
    model.hf_quantizer.compressor.decompress_model(model)
    extra = ("_scale", "_zero_point", "_shape", "_g_idx")
    return {
        name: tensor.detach().clone()
        for name, tensor in model.named_parameters()
        if not name.endswith(extra)
    }


if __name__ == "__main__":
    source, wanted, target = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    quantize(source, wanted, target)
    save_file(dense_weights(target), f"{target}.dense.safetensors")
