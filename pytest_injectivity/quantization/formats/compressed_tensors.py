"""compressed-tensors, which llm-compressor writes: integers and floats of few bits.

The weights are decoded here, from what the files hold. The library is needed where activations are
rounded as the model runs: it loads such a model and rounds what enters its layers.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from math import ceil
from typing import Any

import torch
from torch import Tensor

from pytest_injectivity.errors import ModelError
from pytest_injectivity.quantization.decoding.codes import words
from pytest_injectivity.quantization.decoding.encoded import (
    EncodedMatrix,
    Parts,
    grouped,
    require,
)
from pytest_injectivity.quantization.decoding.matrices import floats_of_4_bits, of_scales
from pytest_injectivity.quantization.decoding.scales import by_order, scaled
from pytest_injectivity.quantization.formats.base import Format
from pytest_injectivity.quantization.stored_tensors import StoredWeights

ROLES = {
    ".weight_packed": "weight_packed",
    ".weight": "weight",
    ".weight_scale": "weight_scale",
    ".weight_zero_point": "weight_zero_point",
    ".weight_global_scale": "weight_global_scale",
    ".weight_shape": "weight_shape",
    ".weight_g_idx": "weight_g_idx",
}
_FORMATS = {
    "naive-quantized",
    "int-quantized",
    "float-quantized",
    "pack-quantized",
    "nvfp4-pack-quantized",
    "mxfp4-pack-quantized",
    "mxfp8-quantized",
    "mixed-precision",
}
_EXPERT = ".experts."
_BYTES = ("U8", "F8_E8M0")
_WORD = 32


class CompressedTensors(Format):
    """Matrices of few bits under names of the library's own, decoded as they are read."""

    name = "compressed-tensors"
    methods = ("compressed-tensors",)
    packages = ("compressed-tensors",)
    extra = "compressed-tensors"
    traces = (".weight_packed",)
    of_activations = (
        *(
            f".{what}_{of}"
            for what in ("input", "output")
            for of in ("scale", "zero_point", "global_scale")
        ),
        *(f".{what}_{of}" for what in ("q", "k", "v") for of in ("scale", "zero_point")),
    )

    def adapt(self, config: Any) -> None:
        """Asks for plain weights, where the library would fetch kernels for a GPU."""
        config.quantization_config |= {"use_optimized_inference": False}

    def decodes(self, stored: StoredWeights) -> bool:
        """Whether nothing is rounded as the model runs, or nothing could be: experts are fused."""
        return not _rounds(stored.said) or any(_EXPERT in name for name in stored.tensors)

    def leaves_activations(self, stored: StoredWeights) -> bool:
        """Whether the activations of fused experts should be rounded."""
        return self.decodes(stored) and _rounds(stored.said)

    def encoded(self, stored: StoredWeights) -> list[EncodedMatrix]:
        """The matrices with a scale.

        Raises:
            ModelError: the format is not one that is read, or a layer lacks a tensor.
        """
        _refuse_unread(stored.said)
        layers = grouped(stored.tensors, ROLES)
        return [
            matrix_of(layer, parts, stored, _scheme(layer, stored.said))
            for layer, parts in layers.items()
            if "weight_packed" in parts or _is_coded(parts, stored)
        ]

    def rounds_activations(self, module: Any) -> bool:
        """Whether a scheme rounds what enters or leaves it: queries, keys and values of an attention."""
        scheme = getattr(module, "quantization_scheme", None)
        entering = getattr(scheme, "input_activations", None)
        return entering is not None or getattr(scheme, "output_activations", None) is not None

    def settle(self, model: Any) -> None:
        """Unpacks the layers; the library does so in a hook of the whole model, which never runs."""
        if hasattr(model, "ct_decompress_hook"):
            model.hf_quantizer.compressor.decompress_model(model)


def _refuse_unread(said: Mapping[str, Any]) -> None:
    """Refuses layouts that are not decoded, and functions that are not those of the weights alone."""
    groups = said.get("config_groups")
    if not isinstance(groups, Mapping) or not all(
        isinstance(one, Mapping) for one in groups.values()
    ):
        raise ModelError("config_groups of the quantization_config must be an object of objects")
    formats = {said.get("format"), *(one.get("format") for one in groups.values())} - {None}
    if others := sorted(map(str, formats - _FORMATS)):
        raise ModelError(
            f"compressed-tensors of the format {', '.join(others)} are not read:"
            f" {', '.join(sorted(_FORMATS))} are"
        )
    sparsity = said.get("sparsity_config") or {}
    if sparsity.get("format", "dense") != "dense":
        raise ModelError(
            f"compressed-tensors of the sparse format {sparsity['format']!r:.50} are not read: dense are"
        )
    if (said.get("transform_config") or {}).get("config_groups"):
        raise ModelError(
            "compressed-tensors with a transform_config (rotations as the model runs) are not read:"
            " those without one are"
        )


def _rounds(said: Mapping[str, Any]) -> bool:
    """Whether activations are rounded as the model runs."""
    groups = said.get("config_groups")
    schemes = groups.values() if isinstance(groups, Mapping) else ()
    return bool(said.get("kv_cache_scheme")) or any(
        isinstance(one, Mapping) and (one.get("input_activations") or one.get("output_activations"))
        for one in schemes
    )


def _is_coded(parts: Mapping[str, str], stored: StoredWeights) -> bool:
    """Whether a layer's matrix itself is one of codes: integers or float8 of a byte each."""
    name = parts.get("weight")
    return name is not None and stored.tensors[name].dtype in {"I8", "F8_E4M3"}


def matrix_of(
    layer: str, parts: dict[str, str], stored: StoredWeights, scheme: Mapping[str, Any]
) -> EncodedMatrix:
    """A matrix of a layer, whose type the stored tensors tell.

    Args:
        layer: its name.
        parts: the names of its tensors, by role (`ROLES`).
        stored: what the files hold.
        scheme: what the configuration says of it; empty where it says nothing.

    Raises:
        ModelError: a tensor is missing, or the bits are not those that the scheme says.
    """
    require(layer, parts, "weight_scale")
    weights = scheme.get("weights") or {}
    codes = stored.tensors[parts.get("weight_packed") or parts["weight"]]
    powers = stored.tensors[parts["weight_scale"]].dtype in _BYTES
    bits, shape = 8, codes.shape
    used: tuple[str, ...] = ("weight", "weight_scale", "weight_zero_point")
    decode: Callable[[Parts], Tensor] = partial(_bytes, block=_block(weights))
    number = "W" if codes.dtype == "I8" else "MXFP" if powers else "FP"
    if "weight_packed" in parts and codes.dtype == "U8":
        used = ("weight_packed", "weight_scale", *(() if powers else ("weight_global_scale",)))
        bits, shape = 4, (*codes.shape[:-1], 2 * codes.shape[-1])
        decode, number = _float4, "MXFP" if powers else "NVFP"
    elif "weight_packed" in parts:
        used = (
            "weight_packed",
            "weight_scale",
            "weight_shape",
            "weight_zero_point",
            "weight_g_idx",
        )
        require(layer, parts, "weight_shape")
        *_, inputs = (int(size) for size in stored.read(parts["weight_shape"]))
        bits, shape = _bits(layer, codes.shape[-1], inputs), (*codes.shape[:-1], inputs)
        decode, number = partial(_integers, bits=bits, inputs=inputs), "W"
    if decode is _float4:
        require(layer, parts, *used)
    if weights.get("num_bits", bits) != bits:
        raise ModelError(
            f"{layer} stores codes of {bits} bits, and its scheme says num_bits {weights['num_bits']}"
        )
    entering = (scheme.get("input_activations") or {}).get("num_bits", 16)
    held = {role: parts[role] for role in used if role in parts}
    return EncodedMatrix(f"{layer}.weight", shape, bits, f"{number}{bits}A{entering}", held, decode)


def _scheme(layer: str, said: Mapping[str, Any]) -> Mapping[str, Any]:
    """The scheme whose targets name a layer, by its name, by a pattern, or by its class."""
    groups = list(said["config_groups"].values())
    for fits in (_names, _matches, _is_class):
        for group in groups:
            if any(fits(str(target), layer) for target in group.get("targets") or ()):
                return dict(group)
    return {}


def _names(target: str, layer: str) -> bool:
    return target == layer


def _matches(target: str, layer: str) -> bool:
    try:
        return target.startswith("re:") and re.match(target[3:], layer) is not None
    except re.error as error:
        raise ModelError(f"target {target!r:.100} is no pattern: {error}") from error


def _is_class(target: str, _layer: str) -> bool:
    return target.isidentifier()


def _block(weights: Mapping[str, Any]) -> tuple[int, int] | None:
    size = weights.get("block_structure")
    return (int(size[0]), int(size[1])) if isinstance(size, list) and len(size) == 2 else None  # noqa: PLR2004 - rows and columns


def _bits(layer: str, words_a_row: int, inputs: int) -> int:
    """The bits of codes that fill rows of words."""
    for bits in range(1, 9):
        if ceil(inputs * bits / _WORD) == words_a_row:
            return bits
    raise ModelError(
        f"{layer}: {words_a_row} words a row for {inputs} inputs are no packing of 1 to 8 bits"
    )


def _float4(parts: Parts) -> Tensor:
    over = parts.get("weight_global_scale")
    return floats_of_4_bits(parts["weight_packed"], parts["weight_scale"], over=over)


def _bytes(parts: Parts, *, block: tuple[int, int] | None) -> Tensor:
    zeros = parts.get("weight_zero_point")
    return scaled(parts["weight"], of_scales(parts["weight_scale"]), zeros=zeros, block=block)


def _integers(parts: Parts, *, bits: int, inputs: int) -> Tensor:
    """Codes of consecutive inputs in words, half of their range above zero."""
    scale, order = parts["weight_scale"], parts.get("weight_g_idx")
    codes = words(parts["weight_packed"], bits, inputs)
    zeros = parts.get("weight_zero_point")
    if zeros is None:
        centers = torch.full(scale.shape, 2 ** (bits - 1))
    elif zeros.dtype == torch.int32:
        centers = words(zeros.T, bits, scale.shape[0]).T
    else:
        centers = zeros.long() + 2 ** (bits - 1)
    if order is not None:
        scale, centers = by_order(scale, order), by_order(centers, order)
    return scaled(codes, scale, zeros=centers)
