"""``.gguf`` files as llama.cpp writes them: legacy types, K types and MXFP4."""

import re
from collections.abc import Mapping
from math import prod
from typing import Any

from transformers import GgufConfig

from pytest_injectivity.quantization.formats.base import Format, Signs, StoredMatrix
from pytest_injectivity.quantization.stored_tensors import StoredTensor, StoredWeights

_BITS = re.compile(r"Q(\d)|FP(\d)")


class Gguf(Format):
    """One file, its configuration and tokenizer within; the library makes its matrices dense."""

    name = "gguf"
    packages = ("gguf", "accelerate")
    extra = "gguf"
    may_be_plain = True
    of_activations = (".input_scale",)

    def detect(self, signs: Signs) -> bool:
        """Whether the checkpoint is a ``.gguf`` file, which has no configuration beside it."""
        return not signs.config and any(name.endswith(".gguf") for name in signs.files)

    def settings(self, quantization: str | None) -> dict[str, Any]:
        """Asks for dense weights."""
        del quantization
        return {"quantization_config": GgufConfig(dequantize=True)}

    def leaves_activations(self, stored: StoredWeights) -> bool:
        """Whether the file holds scales of activations, as those of NVFP4 do."""
        return any(name.endswith(self.of_activations) for name in stored.tensors)

    def stored(self, tensors: Mapping[str, StoredTensor]) -> list[StoredMatrix]:
        """The matrices of quantized types; other tensors of the file are plain numbers."""
        found = []
        for name, tensor in tensors.items():
            bits = _BITS.search(tensor.dtype)
            if bits is not None:
                numbers = prod(tensor.shape)
                found.append(StoredMatrix(name, int(bits[1] or bits[2]), numbers, tensor.dtype))
        return found
