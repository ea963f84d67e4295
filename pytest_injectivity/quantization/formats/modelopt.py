"""NVIDIA's ModelOpt: NVFP4, float8 and MX types, said in a file of its own or in the configuration."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from math import ceil

import torch
from torch import Tensor

from pytest_injectivity.errors import ModelError
from pytest_injectivity.quantization.decoding.codes import nibbles
from pytest_injectivity.quantization.decoding.encoded import (
    EncodedMatrix,
    Parts,
    grouped,
    require,
    shape_of,
)
from pytest_injectivity.quantization.decoding.matrices import floats_of_4_bits, of_scales
from pytest_injectivity.quantization.decoding.scales import scaled
from pytest_injectivity.quantization.formats.base import DecodedFormat, Signs
from pytest_injectivity.quantization.stored_tensors import StoredWeights

_FILE = "hf_quant_config.json"
_SMOOTHING = "pre_quant_scale"
_ROLES = {
    ".weight": "weight",
    ".weight_scale": "weight_scale",
    ".weight_scale_2": "weight_scale_2",
    f".{_SMOOTHING}": _SMOOTHING,
}
_BLOCK = re.compile(r"\.\d+(?=\.)")
_CODES = ("U8", "F8_E4M3", "I8")
_BYTES = ("U8", "F8_E8M0")


class ModelOpt(DecodedFormat):
    """Matrices of few bits beside their scales, decoded as they are read.

    The second scale multiplies the first; compressed-tensors stores its reciprocal.
    """

    name = "modelopt"
    methods = ("modelopt", "modelopt_fp4", "modelopt_mixed")
    traces = (".weight_scale_2",)
    file = _FILE
    of_activations = (
        ".input_scale",
        ".k_scale",
        ".v_scale",
        ".k_proj.output_scale",
        ".v_proj.output_scale",
    )

    def detect(self, signs: Signs) -> bool:
        """Whether the method is named, or ModelOpt's own file lies beside a silent configuration."""
        return super().detect(signs) or (signs.method is None and _FILE in signs.files)

    def leaves_activations(self, stored: StoredWeights) -> bool:
        """Whether the files hold scales of activations, or the algorithm is one that rounds them."""
        algorithm = str(stored.said.get("quant_algo") or "").upper()
        rounded = bool(algorithm) and "A16" not in algorithm and not algorithm.endswith("_WO")
        return rounded or any(name.endswith(self.of_activations) for name in stored.tensors)

    def encoded(self, stored: StoredWeights) -> list[EncodedMatrix]:
        """The matrices of codes.

        Raises:
            ModelError: a matrix has no scale, or is in a layout that is not read.
        """
        coded = {
            layer: parts
            for layer, parts in grouped(stored.tensors, _ROLES).items()
            if "weight" in parts and stored.tensors[parts["weight"]].dtype in _CODES
        }
        _refuse_lost_smoothing(coded)
        return [_encoded(layer, parts, stored) for layer, parts in coded.items()]


def _refuse_lost_smoothing(coded: Mapping[str, Mapping[str, str]]) -> None:
    """Refuses a layer without the scale of its inputs that the same layer of another block has.

    Nothing in the configuration says which layers have one.
    """
    smoothed = {_BLOCK.sub("", layer) for layer, parts in coded.items() if _SMOOTHING in parts}
    for layer, parts in coded.items():
        if _SMOOTHING not in parts and _BLOCK.sub("", layer) in smoothed:
            raise ModelError(f"{layer} has no {_SMOOTHING}, which it has in other blocks")


def _encoded(layer: str, parts: dict[str, str], stored: StoredWeights) -> EncodedMatrix:
    require(layer, parts, "weight_scale")
    codes, scale = (stored.tensors[parts[role]] for role in ("weight", "weight_scale"))
    powers = scale.dtype in _BYTES
    used: tuple[str, ...] = ("weight", "weight_scale")
    sizes = shape_of(stored, parts["weight"], stacked=True)
    *stack, rows, last = sizes
    shape, bits, decode = sizes, 8, _bytes
    if codes.dtype != "U8":
        form = {"I8": "INT8", "F8_E4M3": "MXFP8" if powers else "FP8"}[codes.dtype]
    elif powers or scale.dtype == "F8_E4M3":
        used = used if powers else (*used, "weight_scale_2")
        shape, bits, decode = (*stack, rows, 2 * last), 4, _float4
        form = "MXFP4" if powers else "NVFP4"
    else:
        shape, bits, decode = (*stack, 2 * rows, last), 4, _integers4
        form = "INT4"
    require(layer, parts, *used)
    held = {role: parts[role] for role in (*used, _SMOOTHING) if role in parts}
    return EncodedMatrix(f"{layer}.weight", shape, bits, form, held, partial(_smoothed, decode))


def _smoothed(decode: Callable[[Parts], Tensor], parts: Parts) -> Tensor:
    """A matrix times what multiplies its inputs, where there is such a scale: ``W (s x) = (W s) x``."""
    matrix, inputs = decode(parts), parts.get(_SMOOTHING)
    return matrix if inputs is None else matrix * inputs.float()


def _float4(parts: Parts) -> Tensor:
    return floats_of_4_bits(
        parts["weight"], parts["weight_scale"], times=parts.get("weight_scale_2")
    )


def _integers4(parts: Parts) -> Tensor:
    """Signed codes of consecutive outputs, two a byte."""
    codes = nibbles(parts["weight"].transpose(-2, -1)).transpose(-2, -1).to(torch.int8)
    return scaled((codes ^ 8) - 8, parts["weight_scale"])


def _bytes(parts: Parts) -> Tensor:
    codes, scales, block = parts["weight"], of_scales(parts["weight_scale"]), None
    # Blocks of rows and columns are stored with a dimension for what is within.
    if scales.ndim == 4:  # noqa: PLR2004 - as above
        scales = scales.squeeze(-1).squeeze(-2)
        block = (ceil(codes.shape[0] / len(scales)), ceil(codes.shape[1] / scales.shape[1]))
    return scaled(codes, scales, block=block)
