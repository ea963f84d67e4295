"""Loads quantized checkpoints: what the library is asked for, and what is proved afterwards.

The library reads all formats through one call; what differs stands in `formats`. After loading, layers
are made safe to run and the quantization is proved on them: a checkpoint that says it is quantized and
holds plain weights is refused, whatever its configuration claims.

Most formats are decoded here (`decoding`): their weights are dense once they are loaded, because that is
what runs on every machine without kernels fetched from a hub. bitsandbytes and torchao stay packed.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import torch
from torch import Tensor, nn

from pytest_injectivity.errors import ModelError, OptionError
from pytest_injectivity.quantization.block_bits import packed_blocks
from pytest_injectivity.quantization.decoding.decoding import Decoding
from pytest_injectivity.quantization.formats.base import Format
from pytest_injectivity.quantization.formats.registry import check_readable, format_for
from pytest_injectivity.quantization.info import QuantizationInfo
from pytest_injectivity.quantization.library_calls import refusing
from pytest_injectivity.quantization.packed import MATRIX_DIMENSIONS
from pytest_injectivity.quantization.packed_files import stored_info
from pytest_injectivity.quantization.packed_modules import counted, matrix_numbers, packed_layers
from pytest_injectivity.quantization.stored_tensors import StoredWeights
from pytest_injectivity.quantization.while_loading import WHILE_LOADING

_BEFORE_BLOCKS = re.compile(r"^(?:[A-Za-z_]+\.){0,4}(?:layers|h|blocks)\.(?=\d+\.)")
_ROUNDED = 0.02  # far above rounding to 8 bits


@dataclass(frozen=True)
class Request:
    """How one checkpoint is to be loaded.

    Attributes:
        source: what the user named, for messages.
        row: the format it is published in, or is to be quantized to; None: in full precision.
        quantization: one of `WHILE_LOADING`, or None.
    """

    source: str
    row: Format | None
    quantization: str | None

    @classmethod
    def of(
        cls, source: str, published: Format | None, quantization: str | None, device: torch.device
    ) -> "Request":
        """Makes a request, or refuses one that cannot be met.

        Args:
            source: what the user named.
            published: the format of the checkpoint.
            quantization: what it shall be quantized to.
            device: where it is to run.

        Raises:
            OptionError: the name is not accepted, the checkpoint is quantized already, or the
                device would fetch code.
            ModelError: the format is not read.
            MissingExtra: a package is missing.
        """
        row = published
        if quantization is not None:
            row = format_for(quantization)
            if row is None:
                raise OptionError(
                    f"quantization {quantization!r} is not accepted: give one of"
                    f" {', '.join(WHILE_LOADING)}"
                )
            if published is not None:
                raise OptionError(
                    f"quantization {quantization}: {source} is quantized already, with"
                    f" {published.name}; a checkpoint in full precision is accepted"
                )
        if row is not None:
            check_readable(row, source)
            row.check_device(source, device)
        return cls(source, row, quantization)

    @property
    def settings(self) -> dict[str, Any]:
        """What the library's loader is asked for beside the checkpoint itself."""
        return {} if self.row is None else self.row.settings(self.quantization)

    def decoding(self, stored: StoredWeights) -> Decoding:
        """What of a checkpoint is decoded here; nothing of one in full precision.

        Args:
            stored: the checkpoint's tensors and its words on quantization.

        Raises:
            ModelError: a tensor is missing, or the layout is not one that is read.
        """
        if self.row is None or self.quantization is not None:
            return Decoding(stored)
        try:
            return Decoding(
                stored,
                tuple(self.row.encoded(stored)),
                whole=self.row.decodes(stored),
                left_out=self.row.of_activations,
            )
        except ModelError as error:
            raise ModelError(f"{self.source} cannot be decoded: {error}") from None

    def adapt(self, config: Any, decoding: Decoding) -> None:
        """Asks for what computes the same everywhere, in place of a machine's fastest kernels."""
        if self.row is None or self.quantization is not None:
            return
        if decoding.whole:
            # The library must not quantize what is decoded already.
            config.__dict__.pop("quantization_config", None)
        else:
            self.row.adapt(config)

    @contextmanager
    def imports(self) -> Iterator[None]:
        """Lets the libraries of quantization be imported and read, without code from a hub.

        Where the package ``kernels`` is installed, they ask it for kernels of the hub's community
        and run them (bitsandbytes when it is imported on processors with AVX512-BF16); without it
        they fall back to their own. Their banners and progress bars are kept off the terminal.
        """
        if self.row is None:
            yield
            return
        known = {"kernels": sys.modules["kernels"]} if "kernels" in sys.modules else {}
        sys.modules["kernels"] = None  # type: ignore[assignment] # so Python marks what is not there
        try:
            with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
                self.row.prepare()
                yield
        finally:
            del sys.modules["kernels"]
            sys.modules.update(known)

    def settled(self, model: Any, blocks: nn.Module, decoding: Decoding) -> QuantizationInfo | None:
        """Makes what was loaded safe to run and proves its quantization; None in full precision.

        Args:
            model: fresh from the library, before any forward pass.
            blocks: its blocks.
            decoding: what of its files is decoded here.

        Raises:
            ModelError: no weight of the blocks is quantized, or not as was asked.
        """
        if self.row is None:
            return None
        if self.quantization is not None:
            self.row.quantize(model, blocks, self.quantization)
        with refusing(f"the weights of {self.source} cannot be unpacked"):
            self.row.settle(model)
        if not decoding.whole:
            _decode_again(model, blocks, decoding)
        found = stored_info(self.row, decoding, blocks) or _proved(self.row, blocks)
        if found is None and not self.row.may_be_plain:
            raise ModelError(
                f"{self.source} says that it is quantized ({self.row.name}), but no matrix of its"
                f" blocks is: they are plain weights ({counted(_layers(blocks))})"
            )
        return found


def _decode_again(model: Any, blocks: nn.Module, decoding: Decoding) -> None:
    """Puts the decoded weights in the place of the library's, which rounds them to a dtype of its own.

    The scales that the library keeps beside them are dropped: they are no weights any more.

    Raises:
        ModelError: the model has no parameter of that name and shape.
    """
    dtype = model.get_input_embeddings().weight.dtype
    modules = dict(model.named_modules())
    for one in decoding.matrices:
        layer, _, name = one.name.rpartition(".")
        # The library renames what stands before the blocks of models that also see.
        own = _BEFORE_BLOCKS.sub("", layer, count=1)
        module: Any = modules.get(layer) or dict(blocks.named_modules()).get(own)
        held = getattr(module, name, None)
        if held is None or held.shape != one.shape:
            raise ModelError(f"{one.name} of shape {one.shape} is no parameter of the model")
        values = one.values(decoding.stored.read).to(dtype)
        if layer not in modules and not _close(held, values):
            raise ModelError(f"{one.name} is no matrix of the blocks, and none of its name is")
        held.data = values
        for role in one.parts:
            if role != name and hasattr(module, role):
                delattr(module, role)


def _close(held: Tensor, values: Tensor) -> bool:
    """Whether the library read the same matrix, but for its rounding."""
    apart = (held.float() - values.float()).norm()
    return bool(apart <= _ROUNDED * values.float().norm())


def _proved(row: Format, blocks: nn.Module) -> QuantizationInfo | None:
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
        rounds_activations=any(layer.rounds_activations for _, layer in layers)
        or any(row.rounds_activations(module) for module in blocks.modules()),
        neighbors=any(layer.neighbors for _, layer in layers),
        blocks=packed_blocks(blocks),
    )


def _layers(blocks: nn.Module) -> Counter[str]:
    return Counter(
        _shown(module)
        for module in blocks.modules()
        if any(one.ndim >= MATRIX_DIMENSIONS for one in module.parameters(recurse=False))
    )


def _shown(module: Any) -> str:
    """The class of a layer, with the class of its weight where that is torchao's."""
    weight, name = getattr(module, "weight", None), type(module).__name__
    special = type(weight).__module__.startswith("torchao.")
    return f"{name} of {type(weight).__name__}" if special else name
