"""Quantized checkpoints on their way in: what is asked of the library, settled after, and proved.

The library reads all of them through one call; what differs stands here. After loading, layers are
made safe to run and the quantization is proved on them: a checkpoint that says it is quantized and
holds plain weights is refused, whatever its configuration claims.

Published as few-bit values and held dense after loading, because that is what runs on every machine
without kernels fetched from a hub: ``.gguf``, fp8, compressed-tensors.
"""

import logging
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig, GgufConfig, PreTrainedConfig

from pytest_injectivity.errors import ModelError, OptionError
from pytest_injectivity.quantization.formats import GGUF, TABLE, Kind
from pytest_injectivity.quantization.info import QuantizationInfo
from pytest_injectivity.quantization.library_calls import refusing
from pytest_injectivity.quantization.packed_files import stored
from pytest_injectivity.quantization.packed_modules import counted, matrix_numbers, packed_layers
from pytest_injectivity.quantization.stored_tensors import StoredTensor
from pytest_injectivity.quantization.torchao import TORCHAO, quantize

_BNB: dict[str, dict[str, Any]] = {
    "bnb-nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "bnb-fp4": {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"},
    "bnb-int8": {"load_in_8bit": True},
}
WHILE_LOADING = (*_BNB, *TORCHAO)
"""What a full-precision checkpoint can be quantized to while it is loaded."""

# By method: plain weights where the library would fetch kernels for a GPU, and the one kernel of
# gptqmodel that multiplies by the weights as they are (others round the scales once more).
_ADAPTED = {
    "fp8": {"dequantize": True},
    "compressed-tensors": {"use_optimized_inference": False},
    "gptq": {"backend": "torch"},
    "awq": {"backend": "torch_awq"},
}
_MATRIX = 2


@dataclass(frozen=True)
class Request:
    """How one checkpoint is to be loaded.

    Attributes:
        source: what the user named, for messages.
        kind: how it is published, or is to be quantized; None: in full precision.
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
            kind: how the checkpoint is quantized.
            quantization: what it shall be quantized to.
            device: where it is to run.

        Raises:
            OptionError: the name is not accepted, the checkpoint is quantized already, or the
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
                f"quantization {quantization}: {source} is quantized already, with {kind.method};"
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
            made: Any = BitsAndBytesConfig
            return {"quantization_config": made(**_BNB[str(self.quantization)])}
        return {"quantization_config": GgufConfig(dequantize=True)} if self.kind is GGUF else {}

    def adapt(self, config: PreTrainedConfig) -> None:
        """Asks for what computes the same everywhere, in place of a machine's fastest kernels."""
        if self.kind is not None and self.kind.method in _ADAPTED:
            told: Any = config
            told.quantization_config |= _ADAPTED[self.kind.method]

    @contextmanager
    def imports(self) -> Iterator[None]:
        """Lets the libraries of quantization be imported and read, without code from a hub.

        Where the package ``kernels`` is installed, they ask it for kernels of the hub's community
        and run them (bitsandbytes when it is imported on processors with AVX512-BF16); without it
        they fall back to their own. Their banners and progress bars are kept off the terminal.
        """
        if self.kind is None:
            yield
            return
        known = {"kernels": sys.modules["kernels"]} if "kernels" in sys.modules else {}
        sys.modules["kernels"] = None  # type: ignore[assignment] # so Python marks what is not there
        try:
            with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
                if self.kind is TABLE["bitsandbytes"]:
                    import bitsandbytes  # noqa: F401 - its first import is the one that fetches

                    # It says at every layer and call that what enters is rounded.
                    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
                yield
        finally:
            del sys.modules["kernels"]
            sys.modules.update(known)

    def settled(
        self, model: Any, blocks: nn.Module, tensors: Mapping[str, StoredTensor]
    ) -> QuantizationInfo | None:
        """What was loaded, made safe to run and proved; None in full precision.

        Args:
            model: fresh from the library, before any forward pass.
            blocks: its blocks.
            tensors: of its weights files, by name.

        Raises:
            ModelError: no weight of the blocks is quantized, or not as was asked.
        """
        if self.kind is None:
            return None
        if self.quantization in TORCHAO:
            quantize(model, blocks, str(self.quantization))
        found = stored(self.kind, tensors, blocks) or _proved(blocks)
        if found is None and self.kind is not GGUF:
            raise ModelError(
                f"{self.source} says that it is quantized ({self.kind.method}), but no matrix of its"
                f" blocks is: they are plain weights ({counted(_layers(blocks))})"
            )
        with refusing(f"the quantization of {self.source} cannot be undone"):
            _settle(model)
        return found


def _settle(model: Any) -> None:
    """What must happen before the first forward pass of the base model."""
    # The packed path of processors with AVX512-BF16 rounds scales, and loses them in state_dict().
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    # The library unpacks these before the first pass through the whole model, which never comes.
    if hasattr(model, "ct_decompress_hook"):
        model.hf_quantizer.compressor.decompress_model(model)


def _proved(blocks: nn.Module) -> QuantizationInfo | None:
    layers = [(module, layer) for _, module, layer in packed_layers(blocks)]
    if not layers:
        return None
    numbers = sum(layer.numbers for _, layer in layers)
    kinds = Counter(layer.kind for _, layer in layers)
    return QuantizationInfo(
        kind=" and ".join(sorted(kinds)),
        bits=sum(layer.bits * layer.numbers for _, layer in layers) / numbers,
        share=numbers / (numbers + matrix_numbers(blocks, but=[one for one, _ in layers])),
        layers=counted(Counter(_shown(module) for module, _ in layers)),
        dense="compressed-tensors" in next(iter(kinds)),
        rounds_activations=any(layer.rounds_activations for _, layer in layers),
        neighbours=any(layer.neighbours for _, layer in layers),
    )


def _layers(blocks: nn.Module) -> Counter[str]:
    return Counter(
        _shown(module)
        for module in blocks.modules()
        if any(one.ndim >= _MATRIX for one in module.parameters(recurse=False))
    )


def _shown(module: Any) -> str:
    """A layer by its class, and by its weight's where that is what is special."""
    weight, name = getattr(module, "weight", None), type(module).__name__
    special = type(weight).__module__.startswith("torchao.")
    return f"{name} of {type(weight).__name__}" if special else name
