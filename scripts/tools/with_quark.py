"""Quantize a model with AMD Quark; save it as it would be published, and its dense weights.

    python scripts/tools/with_quark.py MODEL SCHEME OUT

SCHEME is the name of one of Quark's built-in schemes, such as `int4_wo_64`, `uint4_wo_64`, `fp8` or
`mxfp4`. The dense weights, `OUT.dense.safetensors`, are what the layers that Quark itself imports
from the folder multiply by. Runs in the environment that `./dev tools quark` makes.
"""

import sys
from pathlib import Path

import torch
from quark.torch import ModelQuantizer, export_safetensors, import_model_from_safetensors
from quark.torch.export.nn.modules.qparamslinear import QParamsLinear
from quark.torch.quantization.config.template import LLMTemplate
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = [
    "The function returns a list of all the names in the module.",
    "import os, sys, re and json",
] * 2


def quantize(folder: str, scheme: str, out: Path) -> None:
    """Quantize the model of a folder and export it with its tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = LLMTemplate.get(model.config.model_type).get_config(scheme=scheme)
    batches = [tokenizer(text, return_tensors="pt")["input_ids"] for text in TEXTS]
    quantizer = ModelQuantizer(config)
    model = quantizer.quantize_model(model, batches)
    model = quantizer.freeze(model)
    with torch.no_grad():
        export_safetensors(model, str(out), custom_mode="quark", weight_format="real_quantized")
    tokenizer.save_pretrained(out)


def dense_weights(folder: str, out: Path) -> dict[str, torch.Tensor]:
    """Return the parameters of the exported folder, each quantized matrix made dense by its layer."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    model = import_model_from_safetensors(model, str(out))
    dense = {}
    for name, layer in model.named_modules():
        if isinstance(layer, QParamsLinear):
            dense[f"{name}.weight"] = layer._get_qweight(layer.weight).to(model.dtype).clone()  # noqa: SLF001
            continue
        if name == "lm_head" or "quantizer" in name:
            continue
        for part, tensor in layer.named_parameters(recurse=False):
            dense[f"{name}.{part}"] = tensor.detach().clone()
    return dense


if __name__ == "__main__":
    source, wanted, target = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    quantize(source, wanted, target)
    save_file(dense_weights(source, target), f"{target}.dense.safetensors")
