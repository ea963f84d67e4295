"""torchao: int8, float8 and groups of int4 weights, with activations rounded or not.

A checkpoint in full precision is quantized here rather than by transformers, whose own way with torchao
leaves the transposed layers of GPT-2 (``Conv1D``) as they are.
"""

from collections.abc import Callable
from math import gcd
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from pytest_injectivity.quantization.formats.base import Format
from pytest_injectivity.quantization.packed import MATRIX_DIMENSIONS, Packed, bits_of

_GROUP = 64
"""Weights that share a scale in ``torchao-int4``; fewer where a layer's width is no multiple."""


class TorchAo(Format):
    """Layers whose weight is a tensor of torchao's own kind."""

    name = "torchao"
    methods = ("torchao",)
    packages = ("torchao",)
    extra = "torchao"
    while_loading = ("torchao-int8", "torchao-int4", "torchao-float8")

    def quantize(self, model: nn.Module, blocks: nn.Module, quantization: str) -> None:
        """Quantizes the blocks' linear layers; a transposed one becomes the linear layer it equals."""
        from torchao.quantization import quantize_

        for name, module in list(model.named_modules()):
            if isinstance(module, Conv1D):
                model.set_submodule(name, _as_linear(module))
        for module in blocks.modules():
            if isinstance(module, nn.Linear):
                quantize_(module, _settings(quantization, module.in_features))

    def packed(self, module: Any, weight: Any) -> Packed | None:
        """The layer, by the codes in its weight; their values decide the bits of integers."""
        codes = getattr(weight, "qdata", None)
        if not type(weight).__module__.startswith("torchao.") or not isinstance(codes, Tensor):
            return None
        if isinstance(module, nn.Embedding) or weight.ndim != MATRIX_DIMENSIONS:
            return None
        bits = 8 * codes.nbytes // weight.numel()
        told = str(getattr(weight, "target_dtype", codes.dtype)).removeprefix("torch.")
        if told.startswith("int"):
            bits = max(int(told.removeprefix("int")), bits_of(codes))
        elif bits < 8 * codes.element_size():
            told = f"int{bits}"  # several codes in a byte
        activations = [
            getattr(weight, name, None) for name in ("act_quant_kwargs", "activation_quantization")
        ]
        return Packed(
            f"torchao-{told}",
            bits,
            weight.shape[0],
            weight.shape[1],
            dense=lambda: weight.dequantize().double(),
            rounds_activations=any(one is not None for one in activations),
        )


def _as_linear(module: Conv1D) -> nn.Linear:
    inputs, outputs = module.weight.shape
    linear = nn.Linear(inputs, outputs, device="meta")
    linear.weight = nn.Parameter(module.weight.data.T.contiguous(), requires_grad=False)
    linear.bias = nn.Parameter(module.bias.data, requires_grad=False)
    return linear


def _settings(quantization: str, inputs: int) -> Any:
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
