"""Quantised checkpoints on their way in: what is asked of the library, settled after, and proved.

The library reads all of them through one call; what differs stands here. After loading, layers are
made safe to run and the quantisation is proved on them: a checkpoint that says it is quantised and
holds plain weights is refused, whatever its configuration claims.

Published as few-bit values and held dense after loading, because that is what runs on every machine
without kernels fetched from a hub: ``.gguf``, fp8, compressed-tensors.
"""

import logging
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import gcd, prod
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig, FineGrainedFP8Config, GgufConfig
from transformers.pytorch_utils import Conv1D

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.header import read_header
from pytest_injectivity.models.kinds import TABLE, Kind
from pytest_injectivity.models.packed import packed_layers, unpack
from pytest_injectivity.models.quantised import Quantised

_GROUP = 64
"""Weights that share a scale in ``torchao-int4``; fewer where a layer's width is no multiple."""

_BNB: dict[str, dict[str, Any]] = {
    "bnb-nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "bnb-fp4": {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"},
    "bnb-int8": {"load_in_8bit": True},
}
_TORCHAO = ("torchao-int8", "torchao-int4", "torchao-float8")
WHILE_LOADING = (*_BNB, *_TORCHAO)
"""What a full-precision checkpoint can be quantised to while it is loaded."""

_BLOCK = re.compile(r"(?:[A-Za-z_]+\.){0,4}(?:layers|h|blocks|blk)\.\d+\.")
_FLOAT8_BITS = 8
_MATRIX_DIMENSIONS = 2


def kind_of(quantization: str) -> Kind:
    """The kind, with the packages it needs, that a name of `WHILE_LOADING` belongs to."""
    return TABLE["bitsandbytes" if quantization in _BNB else "torchao"]


def asked(kind: Kind | None, quantization: str | None) -> dict[str, Any]:
    """What the library is asked for beside the checkpoint itself."""
    if quantization in _BNB:
        settings: Any = BitsAndBytesConfig(**_BNB[str(quantization)])
        return {"quantization_config": settings}
    # On a GPU the library would fetch kernels for these and run them.
    if kind is TABLE["gguf"]:
        return {"quantization_config": GgufConfig(dequantize=True)}
    if kind is TABLE["fp8"]:
        return {"quantization_config": FineGrainedFP8Config(dequantize=True)}
    return {}


@contextmanager
def without_fetched_kernels(kind: Kind | None) -> Iterator[None]:
    """Imports what a kind needs, where the import of bitsandbytes would run code from a hub.

    On processors with AVX512-BF16 it asks the package ``kernels``, where that is installed, for a
    kernel of the hub's community; without it, it falls back to its own.
    """
    if kind is not TABLE["bitsandbytes"]:
        yield
        return
    known = {"kernels": sys.modules["kernels"]} if "kernels" in sys.modules else {}
    sys.modules["kernels"] = None  # type: ignore[assignment] # how Python marks what cannot be imported
    try:
        import bitsandbytes  # noqa: F401 - its first import is the one that fetches

        # It says at every layer and call that what enters is rounded.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        yield
    finally:
        del sys.modules["kernels"]
        sys.modules.update(known)


def quantise(model: nn.Module, blocks: nn.Module, quantization: str) -> None:
    """Quantises the linear layers of the blocks, where the library has not done it while loading.

    The transposed layers of GPT-2 (``Conv1D``) become the linear layers they are equal to.

    Args:
        model: loaded in full precision.
        blocks: its blocks.
        quantization: one of `WHILE_LOADING`.
    """
    if quantization in _BNB:
        return
    from torchao.quantization import quantize_

    for name, module in list(model.named_modules()):
        if isinstance(module, Conv1D):
            model.set_submodule(name, _as_linear(module))
    for module in blocks.modules():
        if isinstance(module, nn.Linear):
            quantize_(module, _torchao_settings(quantization, module.in_features))


def settle(model: Any, blocks: nn.Module, source: str, evidence: "Evidence | None") -> Quantised:
    """Makes a freshly loaded quantised model safe to run, and proves what it is.

    Args:
        model: fresh from the library, before any forward pass.
        blocks: its blocks.
        source: what the user named, for messages.
        evidence: what the file holds, for kinds the library unpacks while it reads them.

    Raises:
        ModelError: no weight of the blocks is quantised.
    """
    found = _proved(blocks) if evidence is None else evidence.proved(blocks)
    if found is None:
        raise ModelError(
            f"{source} says that it is quantised, but no matrix of its blocks is: they hold plain"
            f" weights ({_counted(_plain_layers(blocks))})"
        )
    # The packed path of processors with AVX512-BF16 rounds scales, and loses them in state_dict().
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    # The library unpacks these before the first pass through the whole model, which never comes.
    if hasattr(model, "ct_decompress_hook"):
        model.hf_quantizer.compressor.decompress_model(model)
    return found


class Evidence:
    """The tensors of a file that the library makes dense as it reads them.

    Args:
        kind: such as ``gguf``.
        bits: of each quantised matrix of the blocks, with how many numbers it has and how it is
            stored.
    """

    def __init__(self, kind: str, stored: list[tuple[int, int, str]]) -> None:
        self.kind = kind
        self.stored = stored

    def proved(self, blocks: nn.Module) -> Quantised | None:
        """What these tensors make of the blocks they were loaded into."""
        numbers = sum(size for _, size, _ in self.stored)
        if not numbers:
            return None
        forms = Counter(form for _, _, form in self.stored)
        return Quantised(
            kind=f"{self.kind} {forms.most_common(1)[0][0]}",
            bits=sum(bits * size for bits, size, _ in self.stored) / numbers,
            share=min(1.0, numbers / _matrix_numbers(blocks)),
            layers=_counted(forms),
            dense=True,
        )


def evidence(kind: Kind | None, files: list[Path]) -> Evidence | None:
    """What the files hold, for the kinds of which the loaded model shows nothing; else None.

    Raises:
        ModelError: an fp8 matrix has no scale.
    """
    if kind is TABLE["gguf"]:
        return Evidence("gguf", _in_gguf(files[0]))
    if kind is TABLE["fp8"]:
        headers: dict[str, Any] = {}
        for path in files:
            headers |= read_header(path)
        return Evidence("fp8", _in_float8(headers))
    return None


def _in_gguf(path: Path) -> list[tuple[int, int, str]]:
    from gguf import GGUFReader

    forms: list[tuple[int, int, str]] = []
    for tensor in GGUFReader(path).tensors:
        form = tensor.tensor_type.name
        bits = re.search(r"Q(\d)|FP(\d)", form)
        if bits is not None and _BLOCK.match(tensor.name):
            forms.append((int(bits[1] or bits[2]), int(tensor.n_elements), form))
    return forms


def _in_float8(header: Mapping[str, Any]) -> list[tuple[int, int, str]]:
    found = []
    for name, tensor in header.items():
        form = str(tensor.get("dtype"))
        if form.startswith("F8_E4") and _BLOCK.match(name):
            if f"{name}_scale_inv" not in header:
                raise ModelError(f"{name} is stored in {form} without the scales of its blocks")
            found.append((_FLOAT8_BITS, prod(tensor["shape"]), form.removeprefix("F8_")))
    return found


def _proved(blocks: nn.Module) -> Quantised | None:
    layers = [(module, layer) for _, module, layer in packed_layers(blocks)]
    if not layers:
        return None
    numbers = sum(layer.numbers for _, layer in layers)
    kinds = Counter(layer.kind for _, layer in layers)
    return Quantised(
        kind=" and ".join(sorted(kinds)),
        bits=sum(layer.bits * layer.numbers for _, layer in layers) / numbers,
        share=numbers / (numbers + _matrix_numbers(blocks, but=[one for one, _ in layers])),
        layers=_counted(Counter(_shown(module) for module, _ in layers)),
        dense="compressed-tensors" in next(iter(kinds)),
        rounds_activations=any(layer.rounds_activations for _, layer in layers),
        neighbours=any(layer.neighbours for _, layer in layers),
    )


def _matrix_numbers(blocks: nn.Module, but: list[nn.Module] | None = None) -> int:
    """The numbers in the matrices of modules, some modules left out."""
    left_out = {id(module) for module in but or ()}
    return sum(
        parameter.numel()
        for module in blocks.modules()
        if id(module) not in left_out
        for parameter in module.parameters(recurse=False)
        if parameter.ndim >= _MATRIX_DIMENSIONS
    )


def _plain_layers(blocks: nn.Module) -> Counter[str]:
    return Counter(
        _shown(module)
        for module in blocks.modules()
        if any(one.ndim >= _MATRIX_DIMENSIONS for one in module.parameters(recurse=False))
    )


def _shown(module: Any) -> str:
    """A layer by its class, and by its weight's where that is what is special."""
    weight = type(getattr(module, "weight", None)).__name__
    plain = weight in {"Parameter", "NoneType", "Params4bit", "Int8Params"}
    return type(module).__name__ if plain else f"{type(module).__name__} of {weight}"


def _counted(forms: Counter[str]) -> tuple[str, ...]:
    return tuple(f"{count} {form}" for form, count in sorted(forms.items()))


def _as_linear(module: Conv1D) -> nn.Linear:
    inputs, outputs = module.weight.shape
    linear = nn.Linear(inputs, outputs, device="meta")
    linear.weight = nn.Parameter(module.weight.data.T.contiguous(), requires_grad=False)
    linear.bias = nn.Parameter(module.bias.data, requires_grad=False)
    return linear


def _torchao_settings(quantization: str, inputs: int) -> Any:
    from torchao import quantization as ao
    from torchao.quantization.granularity import PerGroup

    made: dict[str, Callable[[], Any]] = {
        "torchao-int8": ao.Int8WeightOnlyConfig,
        "torchao-float8": ao.Float8WeightOnlyConfig,
        "torchao-int4": lambda: ao.IntxWeightOnlyConfig(
            weight_dtype=torch.int4, granularity=PerGroup(gcd(inputs, _GROUP))
        ),
    }
    return made[quantization]()


__all__ = ["WHILE_LOADING", "asked", "kind_of", "quantise", "settle", "unpack"]
