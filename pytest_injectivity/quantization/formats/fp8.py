"""fp8 as DeepSeek and Qwen publish it: float8 matrices whose blocks share a scale."""

from collections.abc import Mapping
from math import prod
from typing import Any

from pytest_injectivity.errors import ModelError
from pytest_injectivity.quantization.formats.base import Format, StoredMatrix, in_blocks
from pytest_injectivity.quantization.stored_tensors import StoredTensor

_BITS = 8
_SCALE = "_scale_inv"


class Fp8(Format):
    """Matrices stored in float8, which the library makes dense as it reads them."""

    name = "fp8"
    methods = ("fp8",)
    packages = ("accelerate",)
    extra = "fp8"
    traces = (_SCALE,)

    def adapt(self, config: Any) -> None:
        """Asks for plain weights, where the library would fetch kernels for a GPU."""
        config.quantization_config |= {"dequantize": True}

    def stored(self, tensors: Mapping[str, StoredTensor]) -> list[StoredMatrix]:
        """The float8 matrices; each needs its scales.

        Raises:
            ModelError: a matrix has no scale.
        """
        found = []
        for name, tensor in tensors.items():
            if tensor.dtype.startswith("F8_E4") and in_blocks(name):
                if f"{name}{_SCALE}" not in tensors:
                    raise ModelError(
                        f"{name} is stored in {tensor.dtype} without the scales of its blocks"
                    )
                form = tensor.dtype.removeprefix("F8_")
                found.append(StoredMatrix(_BITS, prod(tensor.shape), form))
        return found
