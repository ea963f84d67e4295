"""The layout of compressed-tensors: a matrix of a layer, its type told by what the files hold."""

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
    numbers_of,
    require,
    section,
    shape_of,
)
from pytest_injectivity.quantization.decoding.matrices import floats_of_4_bits, of_scales
from pytest_injectivity.quantization.decoding.scales import by_order, scaled
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
"""The role of each tensor of a layer, by the end of its name."""

_BYTES = ("U8", "F8_E8M0")
_ORDERED = ("group", "dynamic")  # names of one thing, whose groups are of inputs in another order
_EMBEDDING = re.compile(r"embed|wte")
_WORD = 32


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
    weights = section(scheme, "weights")
    name = parts.get("weight_packed") or parts["weight"]
    codes, sizes = stored.tensors[name], shape_of(stored, name, stacked=True)
    powers = stored.tensors[parts["weight_scale"]].dtype in _BYTES
    bits, shape = 8, sizes
    used: tuple[str, ...] = ("weight", "weight_scale", "weight_zero_point")
    decode: Callable[[Parts], Tensor] = partial(_bytes, block=_block(weights))
    number = "W" if codes.dtype == "I8" else "MXFP" if powers else "FP"
    if codes.dtype == "I8" and weights.get("num_bits") in range(1, 9):
        bits = weights["num_bits"]  # fewer than a byte has
        decode = partial(_bytes, block=_block(weights), bits=bits)
    if "weight_packed" in parts and codes.dtype == "U8":
        used = ("weight_packed", "weight_scale", *(() if powers else ("weight_global_scale",)))
        bits, shape = 4, (*sizes[:-1], 2 * sizes[-1])
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
        inputs = numbers_of(stored, parts["weight_shape"], 2)[-1]
        bits, shape = _bits(layer, sizes[-1], inputs), (*sizes[:-1], inputs)
        decode, number = (
            partial(_integers, bits=bits, inputs=inputs, group=weights.get("group_size")),
            "W",
        )
    if decode is _float4:
        require(layer, parts, *used)
    if weights.get("symmetric") is False:
        require(layer, parts, "weight_zero_point")
    if weights.get("actorder") in _ORDERED:
        require(layer, parts, "weight_g_idx")
    if weights.get("num_bits", bits) != bits:
        raise ModelError(
            f"{layer} stores codes of {bits} bits, and its scheme says num_bits {weights['num_bits']}"
        )
    entering = section(scheme, "input_activations").get("num_bits", 16)
    held = {role: parts[role] for role in used if role in parts}
    return EncodedMatrix(f"{layer}.weight", shape, bits, f"{number}{bits}A{entering}", held, decode)


def scheme_of(layer: str, said: Mapping[str, Any]) -> Mapping[str, Any]:
    """The scheme whose targets name a layer, by its name, by a pattern, or by its class.

    Schemes without weights are those of attentions, whose keys and values they round.
    """
    groups = [group for group in said["config_groups"].values() if group.get("weights")]
    for fits in (_names, _matches, _is_class):
        for group in groups:
            targets = group.get("targets") or ()
            if not isinstance(targets, list | tuple):
                raise ModelError(f"targets {targets!r:.50} of a scheme must be a list")
            if any(fits(str(target), layer) for target in targets):
                return dict(group)
    return {}


def _names(target: str, layer: str) -> bool:
    return target == layer


def _matches(target: str, layer: str) -> bool:
    try:
        return target.startswith("re:") and re.match(target[3:], layer) is not None
    except re.error as error:
        raise ModelError(f"target {target!r:.100} is no pattern: {error}") from error


def _is_class(target: str, layer: str) -> bool:
    # The files name no classes: all that is no embedding is taken for a linear layer.
    is_embedding = _EMBEDDING.search(layer.rpartition(".")[2]) is not None
    return target.isidentifier() and is_embedding == (target == "Embedding")


def _block(weights: Mapping[str, Any]) -> tuple[int, int] | None:
    size = weights.get("block_structure")
    if isinstance(size, str):  # older versions wrote 128x128
        size = size.split("x")
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


def _bytes(parts: Parts, *, block: tuple[int, int] | None, bits: int = 8) -> Tensor:
    codes, zeros = parts["weight"], parts.get("weight_zero_point")
    half = 2 ** (bits - 1)
    if codes.dtype == torch.int8 and not -half <= int(codes.min()) <= int(codes.max()) < half:
        raise ValueError(f"codes from {codes.min()} to {codes.max()} have more than {bits} bits")
    return scaled(codes, of_scales(parts["weight_scale"]), zeros=zeros, block=block)


def _integers(parts: Parts, *, bits: int, inputs: int, group: int | None) -> Tensor:
    """Codes of consecutive inputs in words, half of their range above zero."""
    groups = ceil(inputs / group) if isinstance(group, int) and group > 0 else 0
    if groups and parts["weight_scale"].shape != (len(parts["weight_packed"]), groups):
        raise ValueError(
            f"scales of shape {tuple(parts['weight_scale'].shape)} for groups of {group} of"
            f" {inputs} inputs"
        )
    scale, order = parts["weight_scale"], parts.get("weight_g_idx")
    zeros, half = parts.get("weight_zero_point"), 2 ** (bits - 1)
    codes = words(parts["weight_packed"], bits, inputs) - half
    if zeros is not None and zeros.dtype == torch.int32:
        zeros = words(zeros.T, bits, scale.shape[0]).T - half
    # -1 for each input is what the tool begins with: it has never ordered them.
    if order is not None and bool((order != -1).any()):
        scale = by_order(scale, order)
        zeros = None if zeros is None else by_order(zeros, order)
    return scaled(codes, scale, zeros=zeros)
