"""float8 matrices with scales of blocks (DeepSeek, Qwen) or of rows (fbgemm)."""

from functools import partial
from typing import Any

from torch import Tensor

from pytest_injectivity.errors import ModelError
from pytest_injectivity.quantization.decoding.encoded import EncodedMatrix, Parts
from pytest_injectivity.quantization.decoding.matrices import of_scales
from pytest_injectivity.quantization.decoding.scales import scaled
from pytest_injectivity.quantization.formats.base import DecodedFormat, in_blocks
from pytest_injectivity.quantization.stored_tensors import StoredWeights

_BITS = 8
_FLOAT8 = "F8_E"


class Fp8(DecodedFormat):
    """Matrices stored in float8, decoded as they are read.

    Args:
        name: its ``quant_method``.
        scales: ends of the name of a matrix's scales, after the name of the matrix.
        traces: as in `Format`.
    """

    def __init__(self, name: str, *scales: str, traces: tuple[str, ...] = ()) -> None:
        self.name = name
        self.methods = (name,)
        self.traces = traces
        self._scales = scales

    of_activations = (
        ".input_scale",
        ".activation_scale",
        ".input_scale_ub",
        ".k_scale",
        ".v_scale",
        ".kv_scale",
    )

    def leaves_activations(self, stored: StoredWeights) -> bool:
        """Whether a server's kernels round what enters the layers: they multiply float8 by float8."""
        del stored
        return True

    def encoded(self, stored: StoredWeights) -> list[EncodedMatrix]:
        """The float8 matrices of the blocks, and others that have scales.

        Raises:
            ModelError: a matrix has no scales.
        """
        return [
            self._matrix(name, stored)
            for name, tensor in stored.tensors.items()
            if tensor.dtype.startswith(_FLOAT8)
            and not name.endswith(self._scales)
            and (in_blocks(name) or self._scales_of(name, stored))
        ]

    def _matrix(self, name: str, stored: StoredWeights) -> EncodedMatrix:
        tensor, scales = stored.tensors[name], self._scales_of(name, stored)
        if not scales:
            raise ModelError(f"{name} is stored in {tensor.dtype} without the scales of its blocks")
        if len(scales) > 1:
            raise ModelError(
                f"{name} has the scales {' and '.join(scales)}: one of them is accepted"
            )
        return EncodedMatrix(
            name,
            tensor.shape,
            _BITS,
            tensor.dtype.removeprefix("F8_"),
            {"codes": name, "scales": scales[0]},
            partial(_decoded, block=_block(stored.said.get("weight_block_size"))),
        )

    def _scales_of(self, name: str, stored: StoredWeights) -> list[str]:
        return [name + end for end in self._scales if name + end in stored.tensors]


def _decoded(parts: Parts, *, block: tuple[int, int] | None) -> Tensor:
    codes, scales = parts["codes"], of_scales(parts["scales"])
    return scaled(codes, scales, block=block if scales.ndim >= 2 else None)  # noqa: PLR2004 - a grid


def _block(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    try:
        rows, columns = (int(one) for one in size)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"weight_block_size {size!r:.50} is not accepted: [rows, columns] are"
        ) from error
    return rows, columns
