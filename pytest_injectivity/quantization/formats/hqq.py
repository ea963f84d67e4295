"""HQQ: integers in bytes or words, groups along either axis, each matrix with its own description."""

from functools import partial

import torch
from torch import Tensor

from pytest_injectivity.errors import ModelError
from pytest_injectivity.quantization.decoding.encoded import (
    EncodedMatrix,
    Parts,
    grouped,
    numbers_of,
    require,
)
from pytest_injectivity.quantization.formats.base import DecodedFormat
from pytest_injectivity.quantization.stored_tensors import StoredWeights

# What a layer's own description says, of which only the first five are needed.
_TOLD = (
    "shape",
    "axis",
    "nbits",
    "group_size",
    "packing",
    "channel_wise",
    "compute_dtype",
    "encoded_state_dict",
    "offload_meta",
    "optimize",
    "quant_scale",
    "quant_zero",
    "round_zero",
    "stores_quant_config",
    "unpack_view_dtype",
    "view_as_float",
)
_ROLES = {f".{name}": name for name in ("W_q", "scale", "zero", *_TOLD)}
# Codes of a byte or a word lie this many bits apart, the first of them in the highest place.
_PACKINGS = {
    "8bit_u8": (8, (0,)),
    "4bit_u8": (4, (4, 0)),
    "2bit_u8": (2, (6, 4, 2, 0)),
    "1bit_u8": (1, (7, 6, 5, 4, 3, 2, 1, 0)),
    "3bit_32": (3, (27, 24, 21, 18, 15, 12, 9, 6, 3, 0)),
}
_CODES = ("U8", "I32")


class Hqq(DecodedFormat):
    """Matrices that HQQ packs, decoded as they are read, in the arithmetic of their scales' dtype."""

    name = "hqq"
    methods = ("hqq",)
    traces = (".W_q",)

    def encoded(self, stored: StoredWeights) -> list[EncodedMatrix]:
        """The packed matrices.

        Raises:
            ModelError: a layer lacks a tensor, or is packed in a way that is not read.
        """
        layers = grouped(stored.tensors, _ROLES)
        return [_encoded(layer, parts, stored) for layer, parts in layers.items() if "W_q" in parts]


def _encoded(layer: str, parts: dict[str, str], stored: StoredWeights) -> EncodedMatrix:
    require(layer, parts, "scale", "zero", "shape", "axis", "packing")

    def number(role: str) -> int:
        return numbers_of(stored, parts[role], 1)[0] if role in parts else 0

    letters = numbers_of(stored, parts["packing"], len("4bit_u8"))
    packing = bytes(one % 256 for one in letters).decode("ascii", "replace")
    codes = stored.tensors[parts["W_q"]].dtype
    if packing not in _PACKINGS or codes not in _CODES:
        raise ModelError(
            f"{layer}: HQQ's packing {packing!r:.50} in {codes} is not read: {', '.join(_PACKINGS)} are"
        )
    if number("quant_scale") or number("quant_zero"):
        raise ModelError(f"{layer}: HQQ's quantized scales are not read: plain ones are")
    shape = tuple(numbers_of(stored, parts["shape"], 2))
    bits, places = _PACKINGS[packing]
    decode = partial(_decoded, bits=bits, places=places, axis=number("axis"), shape=shape)
    return EncodedMatrix(f"{layer}.weight", shape, bits, f"W{bits}A16", parts, decode)


def _decoded(
    parts: Parts, *, bits: int, places: tuple[int, ...], axis: int, shape: tuple[int, ...]
) -> Tensor:
    scale, zero = parts["scale"], parts["zero"]
    codes = torch.cat([(parts["W_q"] >> place) & (2**bits - 1) for place in places])
    numbers = torch.Size(shape).numel()
    # Rows of groups, or columns of groups; rows are filled up to whole words.
    groups = scale.numel()
    rows = groups if axis == 1 else numbers // max(1, groups)
    if codes.numel() < numbers or numbers % max(1, groups) or codes.shape[0] < rows:
        raise ValueError(f"{codes.numel()} codes and {groups} groups for a matrix of {shape}")
    return ((codes[:rows].to(scale.dtype) - zero) * scale).reshape(shape).float()
