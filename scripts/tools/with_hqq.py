"""Quantize a model with HQQ; save it as it would be published, and its dense weights.

    python scripts/tools/with_hqq.py MODEL SCHEME OUT

SCHEME is `WRITER:BITS:GROUP:AXIS`. The writer is `transformers` (its `HqqConfig` and
`save_pretrained`, in versions that still have them) or `hqq` (the library's own
`save_to_safetensors`, which says nothing of the quantization in `config.json`). The dense weights,
`OUT.dense.safetensors`, are what each layer's own `dequantize` returns. Runs in the environment
that `./dev tools hqq` makes.
"""

import shutil
import sys
from pathlib import Path

import torch
from hqq.core.quantize import BaseQuantizeConfig, HQQLinear
from hqq.models.hf.base import AutoHQQHFModel
from safetensors.torch import save_file
from torch import nn
from transformers import AutoModelForCausalLM, HqqConfig


def untie(model: nn.Module) -> None:
    """Give the head a matrix of its own: the library's writer refuses two names of one tensor."""
    model.config.tie_word_embeddings = False
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())


def quantize(folder: str, scheme: str, out: Path) -> nn.Module:
    """Quantize the model of a folder, save it, and return it."""
    writer, bits, group, axis = scheme.split(":")
    grid = {"nbits": int(bits), "group_size": int(group), "axis": int(axis)}
    if writer == "transformers":
        config = HqqConfig(**grid)
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype="auto", device_map="cpu", quantization_config=config
        )
        model.save_pretrained(out)
    else:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
        untie(model)
        AutoHQQHFModel.quantize_model(
            model, BaseQuantizeConfig(**grid), compute_dtype=model.dtype, device="cpu"
        )
        AutoHQQHFModel.save_to_safetensors(model, str(out))
    for file in Path(folder).glob("tokenizer*"):
        shutil.copy(file, out)
    return model


def dense_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the parameters of the model, each quantized matrix made dense by its layer."""
    dense = {}
    for name, layer in model.named_modules():
        if isinstance(layer, HQQLinear):
            dense[f"{name}.weight"] = layer.dequantize().clone()
            continue
        for part, tensor in layer.named_parameters(recurse=False):
            if name != "lm_head" or not model.config.tie_word_embeddings:
                dense[f"{name}.{part}"] = tensor.detach().clone()
    return dense


if __name__ == "__main__":
    target = Path(sys.argv[3])
    made = quantize(sys.argv[1], sys.argv[2], target)
    save_file(dense_weights(made), f"{target}.dense.safetensors")
