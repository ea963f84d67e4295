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
from dataclasses import dataclass
from math import gcd, prod
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig, GgufConfig, PreTrainedConfig
from transformers.pytorch_utils import Conv1D

from pytest_injectivity.errors import ModelError, OptionError
from pytest_injectivity.models.header import read_header
from pytest_injectivity.models.kinds import GGUF, TABLE, Kind
from pytest_injectivity.models.packed import packed_layers
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


@dataclass(frozen=True)
class Request:
    """How one checkpoint is to be loaded.

    Attributes:
        source: what the user named, for messages.
        kind: how it is published, or is to be quantised; None: in full precision.
        quantization: one of `WHILE_LOADING`, or None.
    """

    source: str
    kind: Kind | None
    quantization: str | None

    @classmethod
    def of(
        cls, source: str, kind: Kind | None, quantization: str | None, device: torch.device
    ) -> "Request":
        """Refuses what cannot be had.

        Args:
            source: what the user named.
            kind: how the checkpoint is quantised.
            quantization: what it shall be quantised to.
            device: where it is to run.

        Raises:
            OptionError: the name is not accepted, the checkpoint is quantised already, or the
                device would fetch code.
            ModelError: the kind is not read.
            MissingExtra: a package is missing.
        """
        if quantization is not None and quantization not in WHILE_LOADING:
            raise OptionError(
                f"quantization {quantization!r} is not accepted: give one of"
                f" {', '.join(WHILE_LOADING)}"
            )
        if quantization is not None and kind is not None:
            raise OptionError(
                f"quantization {quantization}: {source} is quantised already, with {kind.method};"
                " a checkpoint in full precision is accepted"
            )
        if quantization is not None:
            kind = TABLE["bitsandbytes" if quantization in _BNB else "torchao"]
        if kind is not None:
            kind.check(source)
        if kind is TABLE["bitsandbytes"] and device.type == "mps":
            raise OptionError(
                f"{source}: on device mps bitsandbytes fetches kernels from a hub and runs them:"
                " give device cpu"
            )
        return cls(source, kind, quantization)

    @property
    def settings(self) -> dict[str, Any]:
        """What the library is asked for beside the checkpoint itself."""
        if self.quantization in _BNB:
            made: Any = BitsAndBytesConfig(**_BNB[str(self.quantization)])
            return {"quantization_config": made}
        return {"quantization_config": GgufConfig(dequantize=True)} if self.kind is GGUF else {}

    def adapt(self, config: PreTrainedConfig) -> None:
        """Asks for plain weights where the library would fetch kernels for a GPU."""
        if self.kind in {TABLE["fp8"], TABLE["compressed-tensors"]}:
            asked = {"dequantize": True} if self.kind is TABLE["fp8"] else {}
            told: Any = config
            told.quantization_config |= asked | {"use_optimized_inference": False}

    @contextmanager
    def imports(self) -> Iterator[None]:
        """Imports what the kind needs, where the import of bitsandbytes would run code from a hub.

        On processors with AVX512-BF16 it asks the package ``kernels``, where that is installed, for
        a kernel of the hub's community; without it, it falls back to its own.
        """
        if self.kind is not TABLE["bitsandbytes"]:
            yield
            return
        known = {"kernels": sys.modules["kernels"]} if "kernels" in sys.modules else {}
        sys.modules["kernels"] = None  # type: ignore[assignment] # so Python marks what is not there
        try:
            import bitsandbytes  # noqa: F401 - its first import is the one that fetches

            # It says at every layer and call that what enters is rounded.
            logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
            yield
        finally:
            del sys.modules["kernels"]
            sys.modules.update(known)

    def settled(self, model: Any, blocks: nn.Module, files: list[Path]) -> Quantised | None:
        """What was loaded, made safe to run and proved; None in full precision.

        Args:
            model: fresh from the library, before any forward pass.
            blocks: its blocks.
            files: its weights.

        Raises:
            ModelError: no weight of the blocks is quantised, or not as was asked.
        """
        if self.kind is None:
            return None
        if self.quantization in _TORCHAO:
            quantise(model, blocks, str(self.quantization))
        found = _evidence(self.kind, files, blocks) or _proved(blocks)
        if found is None and self.kind is not GGUF:
            raise ModelError(
                f"{self.source} says that it is quantised ({self.kind.method}), but no matrix of its"
                f" blocks is: they are plain weights ({', '.join(_counted(_layers(blocks)))})"
            )
        _settle(model)
        return found


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


def _settle(model: Any) -> None:
    """What must happen before the first forward pass of the base model."""
    # The packed path of processors with AVX512-BF16 rounds scales, and loses them in state_dict().
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    # The library unpacks these before the first pass through the whole model, which never comes.
    if hasattr(model, "ct_decompress_hook"):
        model.hf_quantizer.compressor.decompress_model(model)


def _evidence(kind: Kind, files: list[Path], blocks: nn.Module) -> Quantised | None:
    """What files hold that the library makes dense as it reads them."""
    if kind is GGUF:
        stored = _in_gguf(files[0])
    elif kind is TABLE["fp8"]:
        stored = _in_float8({name: one for path in files for name, one in read_header(path).items()})
    else:
        return None
    numbers = sum(size for _, size, _ in stored)
    if not numbers:
        return None
    forms = Counter(form for _, _, form in stored)
    return Quantised(
        kind=f"{kind.method} {forms.most_common(1)[0][0]}",
        bits=sum(bits * size for bits, size, _ in stored) / numbers,
        share=min(1.0, numbers / _matrix_numbers(blocks)),
        layers=_counted(forms),
        dense=True,
    )


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


def _layers(blocks: nn.Module) -> Counter[str]:
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

