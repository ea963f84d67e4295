"""The quantized layers of a loaded model: found, counted and unpacked.

A layer is recognised by what it holds, never by what it claims (`formats`).
"""

from collections import Counter
from collections.abc import Iterator

from torch import Tensor, nn

from pytest_injectivity.quantization.formats.registry import packed
from pytest_injectivity.quantization.packed import MATRIX_DIMENSIONS, Packed


def packed_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module, Packed]]:
    """Every packed layer inside a module, with its name there."""
    for name, module in model.named_modules():
        if (found := packed(module)) is not None:
            yield name, module, found


def unpack(model: nn.Module) -> None:
    """Puts a plain linear layer in float64 in the place of every packed one.

    Args:
        model: a copy that may be changed.
    """
    for name, module, layer in list(packed_layers(model)):
        plain = nn.Linear(layer.inputs, layer.outputs, bias=False, device="meta")
        plain.weight = nn.Parameter(layer.dense(), requires_grad=False)
        if isinstance(bias := getattr(module, "bias", None), Tensor):
            plain.bias = nn.Parameter(bias.double(), requires_grad=False)
        model.set_submodule(name, plain)


def numbers(model: nn.Module) -> int:
    """How many weights a model has: a packed byte may hold two, and scales are not counted."""
    layers = {name: layer for name, _, layer in packed_layers(model)}
    plain = sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if name.rpartition(".")[0] not in layers or name.endswith(".bias")
    )
    return plain + sum(layer.numbers for layer in layers.values())


def matrix_numbers(blocks: nn.Module, but: list[nn.Module] | None = None) -> int:
    """How many numbers the matrices of modules hold.

    Args:
        blocks: the modules.
        but: modules that are left out.
    """
    left_out = {id(module) for module in but or ()}
    return sum(
        parameter.numel()
        for module in blocks.modules()
        if id(module) not in left_out
        for parameter in module.parameters(recurse=False)
        if parameter.ndim >= MATRIX_DIMENSIONS
    )


def counted(forms: Counter[str]) -> str:
    """The counts in words, such as ``16 Linear4bit, 2 Linear``."""
    return ", ".join(f"{count} {form}" for form, count in sorted(forms.items()))
