"""bitsandbytes: NF4 and FP4 in blocks of weights, and int8 with a threshold for outliers."""

import logging
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor
from transformers import BitsAndBytesConfig

from pytest_injectivity.core.shapes import Float32
from pytest_injectivity.errors import OptionError
from pytest_injectivity.quantization.formats.base import Format, Signs
from pytest_injectivity.quantization.packed import Packed

_SETTINGS: dict[str, dict[str, Any]] = {
    "bnb-nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "bnb-fp4": {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"},
    "bnb-int8": {"load_in_8bit": True},
}
_CODES_OF_INT8 = 127.0


class BitsAndBytes(Format):
    """Layers that bitsandbytes packs and multiplies by."""

    name = "bitsandbytes"
    methods = ("bitsandbytes",)
    packages = ("bitsandbytes", "accelerate")
    extra = "bnb"
    traces = (".SCB", ".absmax")
    while_loading = tuple(_SETTINGS)

    def detect(self, signs: Signs) -> bool:
        """Whether the method or one of the flags of old is named, which came without a method."""
        flagged = signs.said.get("load_in_4bit") or signs.said.get("load_in_8bit")
        return super().detect(signs) or (not signs.method and bool(flagged))

    def check_device(self, source: str, device: torch.device) -> None:
        """Refuses ``mps``, for which bitsandbytes fetches kernels when they are first called."""
        if device.type == "mps":
            raise OptionError(
                f"{source}: on device mps bitsandbytes fetches kernels from a hub and runs them:"
                " give device cpu"
            )

    def prepare(self) -> None:
        """Imports bitsandbytes, whose first import is the one that fetches kernels."""
        import bitsandbytes  # noqa: F401 - imported for what the first import does

        # It says at every layer and call that what enters is rounded.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)

    def settings(self, quantization: str | None) -> dict[str, Any]:
        """The library's own settings of a name in `while_loading`."""
        if quantization is None:
            return {}
        made: Any = BitsAndBytesConfig
        return {"quantization_config": made(**_SETTINGS[quantization])}

    def packed(self, module: Any, weight: Any) -> Packed | None:
        """The layer, by the class and content of its weight."""
        return _four_bits(module, weight) or _int8(module, weight)

    def settle(self, model: Any) -> None:
        """Turns the packed path of processors with AVX512-BF16 off.

        It rounds the scales and loses them in ``state_dict()``; the portable path does neither. Layers
        that the portable path decodes wrong are decoded here as they run.
        """
        for module in model.modules():
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
            if _is_decoded_wrong(module):
                module.forward = partial(multiplied, module)


def _four_bits(module: Any, weight: Any) -> Packed | None:
    state = getattr(weight, "quant_state", None)
    if type(weight).__name__ != "Params4bit" or state is None or weight.dtype != torch.uint8:
        return None
    outputs, inputs = module.out_features, module.in_features
    if 2 * weight.numel() < outputs * inputs:
        return None

    def dense() -> Tensor:
        return decoded(weight.data, state).double()

    return Packed(f"bnb-{state.quant_type}", 4, outputs, inputs, dense)


def decoded(codes: Tensor, state: Any) -> Float32[Tensor, "..."]:
    """The matrix of a packed 4-bit weight: in each block of numbers, values of a table times a scale.

    Args:
        codes: two to a byte, the first in the upper half.
        state: the library's own of the weight: table, scales, block size and shape.
    """
    scales = state.absmax
    if state.nested:
        from bitsandbytes.functional import dequantize_blockwise

        scales = dequantize_blockwise(scales, state.state2) + state.offset
    table = state.code.float().to(codes.device)
    both = codes.reshape(-1).view(torch.uint8).long()
    values = table[torch.stack([both >> 4, both & 15], dim=1).flatten()][: prod(state.shape)]
    blocks = scales.float().repeat_interleave(state.blocksize)[: len(values)]
    rows: Tensor = (values * blocks).reshape(state.shape)
    return rows


def multiplied(module: Any, inputs: Tensor) -> Tensor:
    """What a packed 4-bit layer makes of its inputs."""
    weight = module.weight
    rows = decoded(weight.data, weight.quant_state).to(inputs.dtype)
    bias = None if module.bias is None else module.bias.to(inputs.dtype)
    return torch.nn.functional.linear(inputs, rows, bias)


def _is_decoded_wrong(module: Any) -> bool:
    """Whether the library decodes a 4-bit layer to other numbers than its codes and scales stand for.

    Its kernel for processors with AVX512 takes the scale of a neighboring block where a block ends
    within a row (docs/log.md, 2026-11-29).
    """
    weight: Any = getattr(module, "weight", None)
    if _four_bits(module, weight) is None or weight.device.type != "cpu":
        return False
    state = weight.quant_state
    if module.in_features % state.blocksize == 0:
        return False
    from bitsandbytes.functional import dequantize_4bit

    own = decoded(weight.data, state).to(state.dtype)
    return not torch.allclose(dequantize_4bit(weight.data, state), own, rtol=1e-2, atol=0.0)


def _int8(module: Any, weight: Any) -> Packed | None:
    if type(weight).__name__ != "Int8Params" or weight.dtype != torch.int8:
        return None
    # The first forward pass moves the scales from the weight to the layer.
    scales = weight.SCB if weight.SCB is not None else module.state.SCB
    if scales is None:
        return None

    def dense() -> Tensor:
        rows: Tensor = weight.data.double() * scales.double()[:, None] / _CODES_OF_INT8
        return rows

    return Packed(
        "bnb-int8",
        8,
        module.out_features,
        module.in_features,
        dense,
        rounds_activations=True,
        neighbors=module.state.threshold > 0,
    )
