"""Quantized layers as they stand in a loaded model: recognised by what they hold, never by a claim.

Each kind of packed layer is read through one `Packed`: its bits, and its matrix as the layer itself
would multiply by it, in float64.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pytest_injectivity.core.shapes import Float

# What compressed-tensors stores weights in.
_WORDS = (torch.int32, torch.int8, torch.uint8, torch.float8_e4m3fn)

_MATRIX = 2

Dense = Callable[[], Float[Tensor, "outputs inputs"]]


@dataclass(frozen=True)
class Packed:
    """A layer ``y = W x + b`` whose matrix is held in few bits.

    Attributes:
        kind: how it is quantized, in words.
        bits: of a weight.
        outputs, inputs: the shape of ``W``.
        dense: gives ``W`` in float64.
        rounds_activations: ``x`` is rounded too, as the layer runs.
        neighbours: how it is rounded depends on the other rows of ``x``.
    """

    kind: str
    bits: int
    outputs: int
    inputs: int
    dense: Dense
    rounds_activations: bool = False
    neighbours: bool = False

    @property
    def numbers(self) -> int:
        """How many numbers the matrix has."""
        return self.outputs * self.inputs


def packed(module: nn.Module) -> Packed | None:
    """The layer as a packed one; None where its weights are plain, whatever it is called."""
    for look in (
        _bitsandbytes_4bit,
        _bitsandbytes_8bit,
        _torchao,
        _compressed_tensors,
        _gptqmodel,
    ):
        found = look(module, getattr(module, "weight", None))
        if found is not None:
            return found
    return None


def packed_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module, Packed]]:
    """Every packed layer inside a module, with its name there."""
    for name, module in model.named_modules():
        if (found := packed(module)) is not None:
            yield name, module, found


def unpack(model: nn.Module) -> None:
    """Puts a plain linear layer in float64 in the place of every packed one.

    Args:
        model: one's own copy.
    """
    for name, module, layer in list(packed_layers(model)):
        plain = nn.Linear(layer.inputs, layer.outputs, bias=False, device="meta")
        plain.weight = nn.Parameter(layer.dense(), requires_grad=False)
        if isinstance(bias := getattr(module, "bias", None), Tensor):
            plain.bias = nn.Parameter(bias.double(), requires_grad=False)
        model.set_submodule(name, plain)


def numbers(model: nn.Module) -> int:
    """How many numbers a model's parameters stand for: a packed byte may hold two, a scale none."""
    layers = {name: layer for name, _, layer in packed_layers(model)}
    plain = sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if name.rpartition(".")[0] not in layers or name.endswith(".bias")
    )
    return plain + sum(layer.numbers for layer in layers.values())


def bits_of(codes: Tensor) -> int:
    """The bits that the integers of a tensor need, as signed numbers."""
    low, high = (int(bound) for bound in codes.aminmax())
    return 1 + max(math.ceil(math.log2(-low)) if low < 0 else 0, high.bit_length())


def _bitsandbytes_4bit(module: Any, weight: Any) -> Packed | None:
    state = getattr(weight, "quant_state", None)
    if type(weight).__name__ != "Params4bit" or state is None or weight.dtype != torch.uint8:
        return None
    outputs, inputs = module.out_features, module.in_features
    if 2 * weight.numel() < outputs * inputs:
        return None

    def dense() -> Tensor:
        from bitsandbytes.functional import dequantize_4bit

        rows: Tensor = dequantize_4bit(weight.data, state)
        return rows.double()

    return Packed(f"bnb-{state.quant_type}", 4, outputs, inputs, dense)


def _bitsandbytes_8bit(module: Any, weight: Any) -> Packed | None:
    if type(weight).__name__ != "Int8Params" or weight.dtype != torch.int8:
        return None
    # The first forward pass moves the scales from the weight to the layer.
    scales = weight.SCB if weight.SCB is not None else module.state.SCB
    if scales is None:
        return None

    def dense() -> Tensor:
        rows: Tensor = weight.data.double() * scales.double()[:, None] / 127.0
        return rows

    return Packed(
        "bnb-int8",
        8,
        module.out_features,
        module.in_features,
        dense,
        rounds_activations=True,
        neighbours=module.state.threshold > 0,
    )


def _torchao(module: Any, weight: Any) -> Packed | None:
    codes = getattr(weight, "qdata", None)
    if not type(weight).__module__.startswith("torchao.") or not isinstance(codes, Tensor):
        return None
    if isinstance(module, nn.Embedding) or weight.ndim != _MATRIX:
        return None
    bits = 8 * codes.nbytes // weight.numel()
    told = str(getattr(weight, "target_dtype", codes.dtype)).removeprefix("torch.")
    if told.startswith("int"):
        bits = max(int(told.removeprefix("int")), bits_of(codes))
    elif bits < 8 * codes.element_size():
        told = f"int{bits}"  # several codes in a byte
    activations = [
        getattr(weight, name, None) for name in ("act_quant_kwargs", "activation_quantization")
    ]
    return Packed(
        f"torchao-{told}",
        bits,
        weight.shape[0],
        weight.shape[1],
        dense=lambda: weight.dequantize().double(),
        rounds_activations=any(one is not None for one in activations),
    )


def _gptqmodel(module: Any, _weight: Any) -> Packed | None:
    """A layer of GPTQ or AWQ, as gptqmodel runs both: words of integers, in rows of inputs."""
    words, bits = getattr(module, "qweight", None), getattr(module, "bits", None)
    if not isinstance(words, Tensor) or not isinstance(bits, int):
        return None
    outputs, inputs = module.out_features, module.in_features
    if 8 * words.nbytes != bits * outputs * inputs:
        return None

    awq = "Awq" in type(module).__name__

    def dense() -> Tensor:
        if awq:
            from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm

            columns: Tensor = dequantize_gemm(
                words, module.qzeros, module.scales, bits, module.group_size
            )
        else:
            columns = module.dequantize_weight()
        return columns.T.double()

    return Packed(f"{'awq' if awq else 'gptq'} W{bits}A16", bits, outputs, inputs, dense)


def _compressed_tensors(module: Any, weight: Any) -> Packed | None:
    """Compressed as it was stored, or decompressed since: its weight is then a plain one."""
    told = getattr(getattr(module, "quantization_scheme", None), "weights", None)
    status = getattr(getattr(module, "quantization_status", None), "name", "")
    if told is None or isinstance(module, nn.Embedding):
        return None
    outputs, inputs, bits = module.out_features, module.in_features, int(told.num_bits)
    stored = getattr(module, "weight_packed", weight)
    # Four-byte words hold several integers each; a byte holds one, or a float8.
    compressed = stored.dtype in _WORDS and stored.nbytes < 2 * outputs * inputs
    if status != "DECOMPRESSED" and not (status == "COMPRESSED" and compressed):
        return None
    entering = module.quantization_scheme.input_activations
    leaving = module.quantization_scheme.output_activations
    number = "FP" if told.type == "float" else "W"
    return Packed(
        f"compressed-tensors {number}{bits}A{16 if entering is None else entering.num_bits}",
        bits,
        outputs,
        inputs,
        dense=lambda: module.weight.double(),  # noqa: PLW0108 - there is none while compressed
        rounds_activations=entering is not None or leaving is not None,
    )


def matrix_numbers(blocks: nn.Module, but: list[nn.Module] | None = None) -> int:
    """The numbers in the matrices of modules, some modules left out."""
    left_out = {id(module) for module in but or ()}
    return sum(
        parameter.numel()
        for module in blocks.modules()
        if id(module) not in left_out
        for parameter in module.parameters(recurse=False)
        if parameter.ndim >= _MATRIX
    )


def counted(forms: Counter[str]) -> str:
    """``16 Linear4bit`` for each form."""
    return ", ".join(f"{count} {form}" for form, count in sorted(forms.items()))
