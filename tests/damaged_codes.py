"""Damages of one quantized matrix: a scale too large or gone, codes at their neighbors' places."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

Tensors = dict[str, Tensor]
Damage = Callable[[Tensors, str], Tensors]

SCALES = ("weight_global_scale", "weight_scale_2", "weight_scale", "scales", "scale")
CODES = ("weight_packed", "qweight", "W_q", "weight")
_FILE = "model.safetensors"


def half_larger(tensors: Tensors, layer: str) -> Tensors:
    """Every scale of a layer's matrix half as large again; powers of two are doubled.

    Args:
        tensors: of a checkpoint, by name.
        layer: the beginning of the names of the matrix's tensors.
    """
    name = part_of(tensors, layer, SCALES)
    scale = tensors[name]
    if scale.dtype == torch.uint8:  # exponents
        return {**tensors, name: scale + 1}
    wide = scale.float() * 1.5
    largest = torch.finfo(scale.dtype).max
    return {**tensors, name: wide.clamp(max=largest).to(scale.dtype)}


def without_scale(tensors: Tensors, layer: str) -> Tensors:
    """The scale of a layer's matrix is gone; the arguments are those of `half_larger`."""
    name = part_of(tensors, layer, SCALES)
    return {one: tensor for one, tensor in tensors.items() if one != name}


def shifted(tensors: Tensors, layer: str) -> Tensors:
    """Every code at its neighbor's place; the arguments are those of `half_larger`."""
    name = part_of(tensors, layer, CODES)
    codes = tensors[name]
    plain = codes.view(torch.uint8) if codes.element_size() == 1 else codes
    return {**tensors, name: plain.roll(1, -1).view(codes.dtype)}


DAMAGES: Mapping[str, Damage] = {
    "scale x1.5": half_larger,
    "scale dropped": without_scale,
    "codes shifted": shifted,
}
"""Each damage by its name in tables."""


def part_of(tensors: Tensors, layer: str, ends: tuple[str, ...]) -> str:
    """The name of the first of these tensors that a layer has."""
    return next(layer + end for end in ends if layer + end in tensors)


def rewritten(folder: Path, to: Path, change: Callable[[Tensors], Tensors]) -> Path:
    """A copy of a checkpoint with other tensors.

    Args:
        folder: the checkpoint's.
        to: where the copy is written.
        change: from the tensors of the files to those of the copy.
    """
    shutil.copytree(folder, to)
    changed = {name: one.contiguous() for name, one in change(load_file(folder / _FILE)).items()}
    with safe_open(folder / _FILE, framework="pt") as file:
        metadata = file.metadata()
    save_file(changed, to / _FILE, metadata=metadata)
    return to
