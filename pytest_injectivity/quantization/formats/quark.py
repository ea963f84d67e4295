"""AMD's Quark: integers in words, float8 and MXFP4, whose types the configuration names."""

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from torch import Tensor

from pytest_injectivity.errors import ModelError
from pytest_injectivity.quantization.decoding.encoded import (
    EncodedMatrix,
    Parts,
    grouped,
    require,
    section,
    shape_of,
)
from pytest_injectivity.quantization.decoding.matrices import (
    floats_of_4_bits,
    of_scales,
    outputs_in_words,
)
from pytest_injectivity.quantization.decoding.scales import scaled
from pytest_injectivity.quantization.formats.base import DecodedFormat
from pytest_injectivity.quantization.stored_tensors import StoredWeights

_ROLES = {
    ".weight": "weight",
    ".weight_scale": "weight_scale",
    ".weight_scale_2": "weight_scale_2",
    ".weight_zero_point": "weight_zero_point",
}
_WORD_TYPES = ("int4", "uint4")
_BYTE_TYPES = ("int8", "uint8", "fp8_e4m3", "fp8_e5m2")
_FLOAT4 = "fp4"
_TYPES = (*_WORD_TYPES, *_BYTE_TYPES, _FLOAT4)
# How the files may store codes of each kind of type.
_STORED = {"I32": _WORD_TYPES, "I8": _BYTE_TYPES, "F8_E4M3": _BYTE_TYPES, "F8_E5M2": _BYTE_TYPES}


class Quark(DecodedFormat):
    """Matrices of the types that the configuration names, decoded as they are read."""

    name = "quark"
    methods = ("quark",)
    of_activations = tuple(
        f".{what}_{of}" for what in ("input", "output") for of in ("scale", "scale_2", "zero_point")
    )

    def leaves_activations(self, stored: StoredWeights) -> bool:
        """Whether a layer's scheme rounds what enters or leaves it."""
        return any(
            scheme.get("input_tensors") or scheme.get("output_tensors")
            for scheme in _schemes(stored.said)
        )

    def encoded(self, stored: StoredWeights) -> list[EncodedMatrix]:
        """The matrices with a scale.

        Raises:
            ModelError: a layer's type is not one that is read, or is stored as another.
        """
        return [
            _encoded(layer, parts, stored)
            for layer, parts in grouped(stored.tensors, _ROLES).items()
            if "weight_scale" in parts or _is_coded(parts, stored)
        ]


def _encoded(layer: str, parts: dict[str, str], stored: StoredWeights) -> EncodedMatrix:
    require(layer, parts, "weight", "weight_scale")
    codes = stored.tensors[parts["weight"]]
    weight = _weight_of(layer, stored.said)
    told = str(weight.get("dtype"))
    if told not in _STORED.get(codes.dtype, (_FLOAT4,)):
        raise ModelError(
            f"{layer} is stored in {codes.dtype}, and Quark's configuration says {told!r:.50}:"
            f" {', '.join(_TYPES)} are read"
        )
    if told in _BYTE_TYPES and weight.get("symmetric") is False:
        require(layer, parts, "weight_zero_point")
    sizes = shape_of(stored, parts["weight"], stacked=told == _FLOAT4)
    *stack, rows, last = sizes
    decode: Callable[[Parts], Tensor] = _bytes
    shape, bits, form = sizes, 8, told
    if told == _FLOAT4:
        shape, bits, decode = (*stack, rows, 2 * last), 4, _float4
        form = "MXFP4"
        if stored.tensors[parts["weight_scale"]].dtype == "F8_E4M3":
            require(layer, parts, "weight_scale_2")
            form = "NVFP4"
    elif told in _WORD_TYPES:
        require(layer, parts, "weight_zero_point")
        order = section(stored.said, "export").get("pack_method", "reorder")
        if order != "reorder":
            raise ModelError(f"Quark's pack_method {order!r:.50} is not read: reorder is")
        outputs = shape_of(stored, parts["weight_scale"])[1]
        shape, bits = (outputs, rows), 4
        decode = partial(_words, signed=told == "int4")
    more = "weight_scale_2" if told == _FLOAT4 else "weight_zero_point"
    held = {role: parts[role] for role in ("weight", "weight_scale", more) if role in parts}
    return EncodedMatrix(f"{layer}.weight", shape, bits, form, held, decode)


def _is_coded(parts: Mapping[str, str], stored: StoredWeights) -> bool:
    return "weight" in parts and stored.tensors[parts["weight"]].dtype in {*_STORED, "U8"}


def _schemes(said: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    layers = section(said, "layer_quant_config").values()
    return [
        one for one in (section(said, "global_quant_config"), *layers) if isinstance(one, Mapping)
    ]


def _weight_of(layer: str, said: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the configuration says of the weights of a layer."""
    own = section(said, "layer_quant_config")
    pattern = next((one for one in own if fnmatchcase(layer, one)), None)
    scheme = section(said, "global_quant_config") if pattern is None else section(own, pattern)
    weight = scheme.get("weight")
    # Of NVFP4 the second entry is about the scales.
    weight = weight[0] if isinstance(weight, list) and weight else weight
    return weight if isinstance(weight, Mapping) else {}


def _words(parts: Parts, *, signed: bool) -> Tensor:
    return outputs_in_words(
        parts["weight"], parts["weight_scale"], parts["weight_zero_point"], bits=4, signed=signed
    )


def _float4(parts: Parts) -> Tensor:
    times = parts.get("weight_scale_2")
    return floats_of_4_bits(parts["weight"], parts["weight_scale"], times=times)


def _bytes(parts: Parts) -> Tensor:
    zeros = parts.get("weight_zero_point")
    return scaled(parts["weight"], of_scales(parts["weight_scale"]), zeros=zeros)
