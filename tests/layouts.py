"""Matrices as codes and scales, in every layout that this package decodes itself.

Each function follows the layout that the format's own tool writes. It rounds a matrix to nearest and
gives the tensors of its layer, and the matrix that they stand for, computed from the codes it chose.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Tensors = dict[str, Tensor]
Encode = Callable[[Tensor], tuple[Tensors, Tensor]]
"""From a matrix: the tensors of its layer by the ends of their names, and the matrix they stand for."""

E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
GROUP = 32


def _grouped(weight: Tensor, size: int) -> Tensor:
    return weight.float().unflatten(1, (-1, size))


def _floats4(scaled: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest codes of four-bit floats and their numbers; ties and signs do not matter."""
    codes = (scaled[..., None] - E2M1).abs().argmin(-1)
    return codes, E2M1[codes]


def _two_a_byte(codes: Tensor) -> Tensor:
    return (codes[:, 0::2] | codes[:, 1::2] << 4).to(torch.uint8)


def _powers(groups: Tensor, largest: float) -> tuple[Tensor, Tensor]:
    """Biased exponents and the powers of two, so that nothing exceeds the largest number of a type."""
    exponents = (groups.abs().amax(-1) / largest).log2().ceil().clamp(-127, 127)
    return (exponents + 127).to(torch.uint8), torch.exp2(exponents)


def _nvfp4(weight: Tensor, *, times: bool) -> tuple[Tensors, Tensor]:
    """Scales of groups of 16 in float8, under one more of the matrix that divides or multiplies them."""
    groups = _grouped(weight, 16)
    whole = groups.abs().amax() / (448 * 6)
    second = whole if times else 1 / whole
    scales = (groups.abs().amax(-1) / 6 / whole).to(torch.float8_e4m3fn)
    real = scales.float() * second if times else scales.float() / second
    codes, numbers = _floats4(groups / real.clamp(min=1e-30)[..., None])
    dense = (numbers * real[..., None]).flatten(1)
    names = ("weight", "weight_scale_2") if times else ("weight_packed", "weight_global_scale")
    parts = {names[0]: _two_a_byte(codes.flatten(1)), "weight_scale": scales}
    return {**parts, names[1]: second if times else second.reshape(1)}, dense


def nvfp4(weight: Tensor) -> tuple[Tensors, Tensor]:
    """compressed-tensors' NVFP4."""
    return _nvfp4(weight, times=False)


def nvfp4_of_modelopt(weight: Tensor) -> tuple[Tensors, Tensor]:
    """ModelOpt's NVFP4, whose second scale multiplies, with the scale of its activations."""
    parts, dense = _nvfp4(weight, times=True)
    return {**parts, "input_scale": torch.tensor(0.01)}, dense


def nvfp4_of_quark(weight: Tensor) -> tuple[Tensors, Tensor]:
    """Quark's NVFP4, whose second scale multiplies."""
    return _nvfp4(weight, times=True)


def _mxfp4(weight: Tensor, name: str) -> tuple[Tensors, Tensor]:
    groups = _grouped(weight, 32)
    exponents, real = _powers(groups, 6)
    codes, numbers = _floats4(groups / real[..., None])
    parts = {name: _two_a_byte(codes.flatten(1)), "weight_scale": exponents}
    return parts, (numbers * real[..., None]).flatten(1)


def mxfp4(weight: Tensor) -> tuple[Tensors, Tensor]:
    """compressed-tensors' MXFP4."""
    return _mxfp4(weight, "weight_packed")


def mxfp4_of_quark(weight: Tensor) -> tuple[Tensors, Tensor]:
    """Quark's MXFP4."""
    return _mxfp4(weight, "weight")


def mxfp8(weight: Tensor) -> tuple[Tensors, Tensor]:
    """Floats of 8 bits under powers of two, of compressed-tensors and ModelOpt."""
    groups = _grouped(weight, 32)
    exponents, real = _powers(groups, 448)
    codes = (groups / real[..., None]).to(torch.float8_e4m3fn)
    parts = {"weight": codes.flatten(1), "weight_scale": exponents}
    return parts, (codes.float() * real[..., None]).flatten(1)


def fp8(weight: Tensor) -> tuple[Tensors, Tensor]:
    """One scale for a matrix of floats of 8 bits."""
    scale = weight.float().abs().amax() / 448
    codes = (weight / scale).to(torch.float8_e4m3fn)
    return {"weight": codes, "weight_scale": scale}, codes.float() * scale


def fp8_of_rows(weight: Tensor) -> tuple[Tensors, Tensor]:
    """One scale for a row of floats of 8 bits: fbgemm."""
    scale = weight.float().abs().amax(1, keepdim=True) / 448
    codes = (weight / scale).to(torch.float8_e4m3fn)
    return {"weight": codes, "weight_scale": scale}, codes.float() * scale


def int8_of_rows(weight: Tensor) -> tuple[Tensors, Tensor]:
    """One scale and one zero point for a row of integers: Quark."""
    scale = weight.float().abs().amax(1, keepdim=True) / 120
    codes = (weight / scale).round().clamp(-120, 120).to(torch.int8)
    zero = torch.full((len(weight),), 3, dtype=torch.int8)
    parts = {"weight": codes + 3, "weight_scale": scale.flatten(), "weight_zero_point": zero}
    return parts, codes.float() * scale


def int4_of_modelopt(weight: Tensor) -> tuple[Tensors, Tensor]:
    """Signed integers of two consecutive outputs in a byte, whose inputs are multiplied first."""
    inputs = torch.linspace(0.5, 2, weight.shape[1])
    groups = _grouped(weight / inputs, GROUP)
    scale = groups.abs().amax(-1) / 7
    codes = (groups / scale[..., None]).round().clamp(-8, 7)
    dense = (codes * scale[..., None]).flatten(1) * inputs
    whole = codes.flatten(1).long() & 15
    packed = (whole[0::2] | whole[1::2] << 4).to(torch.uint8)
    return {"weight": packed, "weight_scale": scale, "pre_quant_scale": inputs}, dense


def _codes(weight: Tensor, bits: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Codes ``(outputs, inputs)``, scales and zero points ``(outputs, groups)``, and the matrix."""
    groups = _grouped(weight, GROUP)
    low, high = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
    scales = ((high - low) / (2**bits - 1)).half()
    # The first version of GPTQ's layout stores one less and cannot store a zero of 0.
    zeros = (-low / scales.float()).round().clamp(1, 2**bits - 1)
    codes = (groups / scales.float()[..., None] + zeros[..., None]).round().clamp(0, 2**bits - 1)
    dense = ((codes - zeros[..., None]) * scales.float()[..., None]).flatten(1)
    return codes.flatten(1).long(), scales, zeros.long(), dense


def in_words(codes: Tensor, bits: int) -> Tensor:
    """Rows of codes as one stream of bits, from the lowest bit of the first word."""
    rows = []
    for row in codes.tolist():
        stream = sum(code << bits * at for at, code in enumerate(row))
        count = -(-len(row) * bits // 32)
        rows.append([(stream >> 32 * at) & 2**32 - 1 for at in range(count)])
    words = torch.tensor(rows, dtype=torch.int64)
    return torch.where(words >= 2**31, words - 2**32, words).int()


def gptq(bits: int, *, less: int = 1, order: bool = False) -> Encode:
    """GPTQ's layout.

    Args:
        bits: of a code.
        less: by how much stored zero points are too small.
        order: groups are of inputs in another order than the matrix's.
    """

    def encode(weight: Tensor) -> tuple[Tensors, Tensor]:
        inputs = weight.shape[1]
        shuffled = torch.randperm(inputs, generator=torch.Generator().manual_seed(inputs))
        places = shuffled if order else torch.arange(inputs)
        codes, scales, zeros, dense = _codes(weight[:, places], bits)
        back = places.argsort()
        parts = {
            "qweight": in_words(codes[:, back], bits).T,
            "qzeros": in_words(zeros.T - less, bits),
            "scales": scales.T,
            "g_idx": (back // GROUP).int(),
        }
        return parts, dense[:, back]

    return encode


def awq(weight: Tensor, *, signed: bool = False) -> tuple[Tensors, Tensor]:
    """AWQ's layout: eight outputs in a word, the even ones first.

    Args:
        weight: the matrix.
        signed: codes and zero points are two's complements: Quark's int4.
    """
    codes, scales, zeros, dense = _codes(weight, 4)
    if signed:
        codes, zeros = (codes - 8) & 15, (zeros - 8) & 15
    order = [0, 2, 4, 6, 1, 3, 5, 7]

    def words(numbers: Tensor) -> Tensor:
        interleaved = numbers.unflatten(1, (-1, 8))[..., order]  # type: ignore[no-untyped-call]
        return in_words(interleaved.flatten(1), 4)

    return {"qweight": words(codes.T), "qzeros": words(zeros.T), "scales": scales.T}, dense


def of_quark(*, signed: bool) -> Encode:
    """Quark's names for AWQ's layout."""

    def encode(weight: Tensor) -> tuple[Tensors, Tensor]:
        parts, dense = awq(weight, signed=signed)
        names = {
            "qweight": "weight",
            "scales": "weight_scale",
            "qzeros": "weight_zero_point",
        }
        return {names[name]: part for name, part in parts.items()}, dense

    return encode


def hqq(bits: int, *, axis: int) -> Encode:
    """HQQ's layout.

    Args:
        bits: of a code.
        axis: groups are rows (1) or columns (0) of the matrix that holds them.
    """
    places = {8: [0], 4: [4, 0], 2: [6, 4, 2, 0], 3: list(range(27, -1, -3))}[bits]
    packing = "3bit_32" if bits == 3 else f"{bits}bit_u8"

    def encode(weight: Tensor) -> tuple[Tensors, Tensor]:
        groups = weight.float().reshape((-1, GROUP) if axis else (GROUP, -1))
        low, high = (bound(axis, keepdim=True) for bound in (groups.amin, groups.amax))
        scale = (high - low) / (2**bits - 1)
        zero = -low / scale
        codes = (groups / scale + zero).round().clamp(0, 2**bits - 1)
        dense = ((codes - zero) * scale).reshape(weight.shape)
        rows = -(-len(codes) // len(places))
        filled = torch.nn.functional.pad(codes.long(), (0, 0, 0, rows * len(places) - len(codes)))
        packed = sum(part << place for part, place in zip(filled.split(rows), places, strict=True))
        told = torch.tensor(list(packing.encode()), dtype=torch.uint8)
        parts = {
            "W_q": torch.as_tensor(packed).to(torch.int32 if bits == 3 else torch.uint8),
            "scale": scale,
            "zero": zero,
            "shape": torch.tensor(weight.shape),
            "axis": torch.tensor(axis, dtype=torch.int32),
            "nbits": torch.tensor(bits, dtype=torch.int32),
            "packing": told,
            "quant_scale": torch.tensor(0, dtype=torch.uint8),
        }
        return parts, dense

    return encode
