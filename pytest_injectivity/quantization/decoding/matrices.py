"""Decodes a matrix, or a stack of matrices, of each published layout of codes and scales.

Every function takes the tensors of a layer and gives the matrix in float32, ``(..., outputs, inputs)``.
Tensors that contradict each other raise `ValueError`.
"""

from math import prod

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float32
from pytest_injectivity.quantization.decoding.codes import e2m1, e8m0, words
from pytest_injectivity.quantization.decoding.scales import by_order, scaled

_WORD = 32
_POWERS = (torch.uint8, torch.float8_e8m0fnu)
_MX, _NV = 32, 16  # inputs of a group
# Where a word of AWQ's holds the code of each of its eight (or four) outputs.
_AWQ_ORDERS = {4: (0, 4, 1, 5, 2, 6, 3, 7), 8: (0, 2, 1, 3)}


def floats_of_4_bits(
    packed: Tensor, scales: Tensor, *, times: Tensor | None = None, over: Tensor | None = None
) -> Float32[Tensor, "..."]:
    """``code * scale``, ``code * (scale * times)`` or ``code * (scale / over)``.

    Args:
        packed: two codes a byte, ``(..., outputs, inputs / 2)``.
        scales: of groups of inputs, ``(..., outputs, groups)``: bytes are powers of two, of 32 inputs
            each (MXFP4); others are of 16 (NVFP4).
        times: multiplies the scales: one number, or one for each matrix of a stack (ModelOpt).
        over: divides them likewise (compressed-tensors).
    """
    real = of_scales(scales)
    if times is not None:
        real = real * _one_each(times, real)
    if over is not None:
        real = real / _one_each(over, real)
    return scaled(e2m1(packed), real, block=(1, _MX if scales.dtype in _POWERS else _NV))


def of_scales(scales: Tensor) -> Float32[Tensor, "..."]:
    """Scales as numbers: bytes are biased exponents of two, all else is a number already."""
    return e8m0(scales) if scales.dtype in _POWERS else scales.float()


def inputs_in_words(
    codes: Tensor, scales: Tensor, zeros: Tensor, *, bits: int, less: int, order: Tensor | None
) -> Float32[Tensor, "outputs inputs"]:
    """The layout of GPTQ: a word holds the codes of consecutive inputs of one output.

    Args:
        codes: ``qweight``, ``(inputs * bits / 32, outputs)``.
        scales: ``(groups, outputs)``.
        zeros: ``qzeros``, ``(groups, outputs * bits / 32)``, a word for consecutive outputs.
        bits: of a code.
        less: by how much the stored zero points are too small: 1 in the first version of the layout.
        order: the group of each input (``g_idx``). None: groups of consecutive inputs.
    """
    inputs, outputs = codes.shape[0] * _WORD // bits, codes.shape[1]
    if scales.shape[1] != outputs:
        raise ValueError(f"scales of {scales.shape[1]} outputs for codes of {outputs}")
    numbers = words(codes.T, bits, inputs)
    centers = (words(zeros, bits, outputs) + less) & (2**bits - 1)
    grid, centers = _in_order(scales.T, centers.T, order)
    return scaled(numbers, grid, zeros=centers)


def outputs_in_words(
    codes: Tensor, scales: Tensor, zeros: Tensor, *, bits: int, signed: bool = False
) -> Float32[Tensor, "outputs inputs"]:
    """The layout of AWQ: a word holds the codes of consecutive outputs of one input, interleaved.

    Args:
        codes: ``qweight``, ``(inputs, outputs * bits / 32)``.
        scales: ``(groups, outputs)``.
        zeros: ``qzeros``, ``(groups, outputs * bits / 32)``.
        bits: of a code, 4 or 8.
        signed: codes and zero points are two's complements.
    """
    if bits not in _AWQ_ORDERS:
        raise ValueError(f"codes of {bits} bits: {', '.join(map(str, _AWQ_ORDERS))} are accepted")
    outputs, sign = scales.shape[1], 2 ** (bits - 1) if signed else 0
    numbers, centers = (
        (_deinterleaved(packed, bits, outputs) ^ sign) - sign for packed in (codes, zeros)
    )
    return scaled(numbers.T, scales.T, zeros=centers.T)


def _in_order(scales: Tensor, zeros: Tensor, order: Tensor | None) -> tuple[Tensor, Tensor]:
    if order is None:
        return scales, zeros
    return by_order(scales, order), by_order(zeros, order)


def _one_each(numbers: Tensor, grid: Tensor) -> Tensor:
    """Numbers of a stack's matrices, shaped so that each multiplies the grid of its own."""
    stacked = prod(grid.shape[:-2])
    if numbers.numel() not in {1, stacked}:
        raise ValueError(f"{numbers.numel()} global scales for {stacked} matrices")
    return numbers.float().reshape(*(grid.shape[:-2] if numbers.numel() > 1 else ()), 1, 1)


def _deinterleaved(packed: Tensor, bits: int, count: int) -> Tensor:
    order = list(_AWQ_ORDERS[bits])
    codes = words(packed, bits, count)
    return codes.reshape(len(codes), -1, len(order))[..., order].flatten(1)
