"""What a format of quantized checkpoints is: how it is detected, loaded and proved.

A format is a subclass of `Format` in a file of its own and a row in `registry.FORMATS`. Its methods do
what differs from a checkpoint in full precision; the defaults do nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pytest_injectivity.core.tower_names import TOWERS
from pytest_injectivity.core.versions import installed_version
from pytest_injectivity.quantization.decoding.encoded import EncodedMatrix
from pytest_injectivity.quantization.packed import Packed
from pytest_injectivity.quantization.stored_tensors import StoredTensor, StoredWeights

_IN_BLOCKS = re.compile(r"(?:[A-Za-z_]+\.){0,4}(?:layers|h|blocks|blk)\.(\d+)\.")


@dataclass(frozen=True)
class Signs:
    """What a checkpoint shows of its quantization before anything of it is loaded.

    Attributes:
        config: of its ``config.json``; empty for a ``.gguf`` file, which holds its own.
        files: the names of the files that were named or lie in its folder.
    """

    config: Mapping[str, Any]
    files: frozenset[str] = frozenset()

    @property
    def said(self) -> Mapping[str, Any]:
        """The configuration's own words on quantization; empty where there are none."""
        said = self.config.get("quantization_config")
        return said if isinstance(said, dict) else {}

    @property
    def method(self) -> object:
        """The ``quant_method`` that the configuration names; None where it names none."""
        return self.said.get("quant_method")


@dataclass(frozen=True)
class StoredMatrix:
    """A matrix that a file stores in few bits.

    Attributes:
        name: of the tensor.
        bits: of a number.
        numbers: how many there are.
        form: the file's own name for the type.
    """

    name: str
    bits: int
    numbers: int
    form: str


class Format:
    """A way in which published checkpoints are quantized.

    Attributes:
        name: in messages, and unique in the table.
        methods: the ``quant_method`` of the configurations that have it.
        packages: distributions it needs beside this package's own dependencies.
        extra: the extra of this package that installs them.
        refused: why it is not read; empty where it is.
        traces: ends of names of tensors that only this format has.
        of_activations: ends of names of tensors that scale activations, and no weights.
        while_loading: names of what full-precision checkpoints can be quantized to with it.
        file: beside ``config.json``, which says how it is quantized where that does not.
        may_be_plain: a checkpoint of this format may hold weights in full precision.
    """

    name: str
    methods: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    extra: str = ""
    refused: str = ""
    traces: tuple[str, ...] = ()
    of_activations: tuple[str, ...] = ()
    while_loading: tuple[str, ...] = ()
    file: str = ""
    may_be_plain: bool = False

    def detect(self, signs: Signs) -> bool:
        """Whether a checkpoint that shows these signs is of this format."""
        return signs.method in self.methods

    def missing_packages(self) -> list[str]:
        """The distributions it needs that are not installed."""
        return [name for name in self.packages if installed_version(name) is None]

    def check_device(self, source: str, device: torch.device) -> None:
        """Refuses a device that the format cannot, or must not, be run on.

        Args:
            source: what is to be loaded, for the message.
            device: where it is to run.

        Raises:
            OptionError: the device is not accepted.
        """

    def prepare(self) -> None:
        """Imports what the library will import; called where no code is fetched from a hub."""

    def settings(self, quantization: str | None) -> dict[str, Any]:  # noqa: ARG002 - a default
        """What the library's loader is asked for beside the checkpoint itself.

        Args:
            quantization: one of `while_loading`, or None for a checkpoint of this format.
        """
        return {}

    def adapt(self, config: Any) -> None:
        """Changes the library's configuration to what computes the same on every machine."""

    def quantize(self, model: nn.Module, blocks: nn.Module, quantization: str) -> None:
        """Quantizes a model that the library loaded in full precision, where the library does not.

        Args:
            model: fresh from the library.
            blocks: its blocks.
            quantization: one of `while_loading`.
        """

    def encoded(self, stored: StoredWeights) -> list[EncodedMatrix]:  # noqa: ARG002 - a default
        """The matrices that the files hold as codes and scales, and that are decoded here.

        Args:
            stored: the checkpoint's tensors and its words on quantization.

        Raises:
            ModelError: a tensor is missing, or the layout is not one that is read.
        """
        return []

    def decodes(self, stored: StoredWeights) -> bool:  # noqa: ARG002 - a default
        """Whether the model is loaded as a plain one of decoded weights; else by the format's library.

        Args:
            stored: as for `encoded`.
        """
        return False

    def leaves_activations(self, stored: StoredWeights) -> bool:  # noqa: ARG002 - a default
        """Whether activations stay as they are here that a server rounds.

        Args:
            stored: as for `encoded`.
        """
        return False

    def stored(self, tensors: Mapping[str, StoredTensor]) -> list[StoredMatrix]:  # noqa: ARG002 - a default
        """The matrices that a ``.gguf`` file stores in few bits.

        Args:
            tensors: of the file, by name.
        """
        return []

    def packed(self, module: Any, weight: Any) -> Packed | None:  # noqa: ARG002 - a default
        """The layer as this format holds it in a loaded model; None where it is none of this format's.

        It is recognised by what it holds, never by what it is called.

        Args:
            module: a layer.
            weight: its attribute of that name, or None.
        """
        return None

    def rounds_activations(self, module: Any) -> bool:  # noqa: ARG002 - a default
        """Whether a module that is no packed layer rounds what passes through it as the model runs.

        Args:
            module: any module of a loaded model, such as an attention.
        """
        return False

    def settle(self, model: Any) -> None:
        """Makes a loaded model safe to run, before any forward pass of its base model."""


class DecodedFormat(Format):
    """A format whose weights are always decoded here; its model is a plain one."""

    def decodes(self, stored: StoredWeights) -> bool:
        """Whether the weights are decoded here: always."""
        del stored
        return True


def in_blocks(name: str) -> bool:
    """Whether a stored tensor belongs to a block of the text decoder, by its name."""
    return block_of(name) is not None


def block_of(name: str) -> int | None:
    """The block of the text decoder that a stored tensor belongs to, from 0; None where to no block."""
    found = _IN_BLOCKS.match(name)
    return None if found is None or TOWERS.match(name) is not None else int(found[1])
