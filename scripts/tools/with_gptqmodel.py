"""Quantize a model with GPTQModel; save it as it would be published, and its dense weights.

    python scripts/tools/with_gptqmodel.py MODEL SCHEME OUT

SCHEME is `METHOD:BITS:GROUP[:asym][:order]`; the method is `gptq`, or on a GPU `awq`; `asym` keeps
zero points and `order` treats inputs in the order of their weight. The dense weights,
`OUT.dense.safetensors`, are what the plain layers that GPTQModel loads from the folder make of
codes and scales. Runs in the environment that `./dev tools gptqmodel` makes.
"""

import os
import shutil
import sys
from pathlib import Path

os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")  # it asks for two and counts half the cores

import torch
from gptqmodel import BACKEND, GPTQModel
from gptqmodel.quantization import AWQConfig, GPTQConfig
from safetensors.torch import save_file

TEXT = (
    "The function returns a list of all the names in the module, import os, sys, re and json. " * 3
)


def quantize(folder: str, scheme: str, out: Path) -> None:
    """Quantize the model of a folder and save it with its tokenizer."""
    method, bits, group, *options = scheme.split(":")
    grid = {"bits": int(bits), "group_size": int(group), "sym": "asym" not in options}
    made = AWQConfig(**grid) if method == "awq" else GPTQConfig(**grid, desc_act="order" in options)
    model = GPTQModel.load(folder, made, device="cpu")
    model.quantize([TEXT[at:] for at in range(0, 160, 10)], batch_size=1)
    model.save(str(out))
    for file in Path(folder).glob("tokenizer*"):
        shutil.copy(file, out)


def dense_weights(out: Path) -> dict[str, torch.Tensor]:
    """Return the parameters of the saved folder, each packed matrix made dense by its layer."""
    model = GPTQModel.load(str(out), device="cpu", backend=BACKEND.TORCH).model
    dense = {}
    for name, layer in model.named_modules():
        if hasattr(layer, "qweight"):
            dense[f"{name}.weight"] = layer.dequantize_weight().T.to(model.dtype).contiguous()
            continue
        for part, tensor in layer.named_parameters(recurse=False):
            if name != "lm_head":
                dense[f"{name}.{part}"] = tensor.detach().clone()
    return dense


if __name__ == "__main__":
    source, wanted, target = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    quantize(source, wanted, target)
    save_file(dense_weights(target), f"{target}.dense.safetensors")
