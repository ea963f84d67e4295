"""A checkpoint in full precision quantized while it is loaded, where the library cannot.

The library's own way with torchao leaves the transposed layers of GPT-2 (``Conv1D``) as they are.
"""

from collections.abc import Callable
from math import gcd
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

TORCHAO = ("torchao-int8", "torchao-int4", "torchao-float8")
"""What is quantized here."""

_GROUP = 64
"""Weights that share a scale in ``torchao-int4``; fewer where a layer's width is no multiple."""


def quantize(model: nn.Module, blocks: nn.Module, quantization: str) -> None:
    """Quantizes the linear layers of the blocks; transposed ones become the linear ones they equal.

    Args:
        model: loaded in full precision.
        blocks: its blocks.
        quantization: one of `TORCHAO`.
    """
    from torchao.quantization import quantize_

    for name, module in list(model.named_modules()):
        if isinstance(module, Conv1D):
            model.set_submodule(name, _as_linear(module))
    for module in blocks.modules():
        if isinstance(module, nn.Linear):
            quantize_(module, _torchao_settings(quantization, module.in_features))


def _as_linear(module: Conv1D) -> nn.Linear:
    inputs, outputs = module.weight.shape
    linear = nn.Linear(inputs, outputs, device="meta")
    linear.weight = nn.Parameter(module.weight.data.T.contiguous(), requires_grad=False)
    linear.bias = nn.Parameter(module.bias.data, requires_grad=False)
    return linear


def _torchao_settings(quantization: str, inputs: int) -> Any:
    from torchao import quantization as ao
    from torchao.quantization.granularity import PerGroup

    four_bits: Any = torch.int4  # type: ignore[attr-defined] # torch's own stubs lack it
    made: dict[str, Callable[[], Any]] = {
        "torchao-int8": ao.Int8WeightOnlyConfig,
        "torchao-float8": ao.Float8WeightOnlyConfig,
        "torchao-int4": lambda: ao.IntxWeightOnlyConfig(
            weight_dtype=four_bits, granularity=PerGroup(gcd(inputs, _GROUP))
        ),
    }
    return made[quantization]()
