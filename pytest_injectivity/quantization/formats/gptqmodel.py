"""GPTQ and AWQ, as gptqmodel runs both: words of integers, in rows of inputs."""

from typing import Any

from torch import Tensor

from pytest_injectivity.quantization.formats.base import Format
from pytest_injectivity.quantization.packed import Packed


class Gptq(Format):
    """Layers that gptqmodel packs by GPTQ."""

    name = "gptq"
    methods = ("gptq",)
    packages = ("gptqmodel", "optimum")
    extra = "gptq"
    traces = (".qweight",)

    _backend = "torch"

    def adapt(self, config: Any) -> None:
        """Asks for the kernel that multiplies by the weights as they are; others round the scales."""
        config.quantization_config |= {"backend": self._backend}

    def packed(self, module: Any, weight: Any) -> Packed | None:
        """The layer, by the size of its words and the bits it names."""
        del weight
        words, bits = getattr(module, "qweight", None), getattr(module, "bits", None)
        if not isinstance(words, Tensor) or not isinstance(bits, int):
            return None
        outputs, inputs = module.out_features, module.in_features
        if 8 * words.nbytes != bits * outputs * inputs or not self._is_mine(module):
            return None
        kind = f"{self.name} W{bits}A16"

        def dense() -> Tensor:
            return self._columns(module).T.double()

        return Packed(kind, bits, outputs, inputs, dense)

    def _is_mine(self, module: Any) -> bool:
        return "Awq" not in type(module).__name__

    def _columns(self, module: Any) -> Tensor:
        columns: Tensor = module.dequantize_weight()
        return columns


class Awq(Gptq):
    """Layers that gptqmodel packs by AWQ."""

    name = "awq"
    methods = ("awq",)

    _backend = "torch_awq"

    def _is_mine(self, module: Any) -> bool:
        return "Awq" in type(module).__name__

    def _columns(self, module: Any) -> Tensor:
        from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm

        columns: Tensor = dequantize_gemm(
            module.qweight, module.qzeros, module.scales, module.bits, module.group_size
        )
        return columns
