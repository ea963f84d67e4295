"""The second scales of NVFP4 in a ``.gguf`` file: a number beside each matrix that multiplies it.

llama.cpp's converter writes the scale of a whole matrix, which a block has no place for, as a tensor of
its own (``blk.0.attn_q.scale``), and that of what enters the matrix beside it (``.input_scale``). Of a
stack of experts there is one for each.
"""

from collections.abc import Mapping
from math import prod

import numpy as np

from pytest_injectivity.core.shapes import Float32
from pytest_injectivity.quantization.gguf_header import GgufHeader
from pytest_injectivity.quantization.gguf_values import dense

_KIND = "NVFP4"
_WEIGHT, _SCALE, OF_INPUTS = ".weight", ".scale", ".input_scale"


def second_scales(header: GgufHeader) -> dict[str, str]:
    """The name of the scale of each matrix that has one, by the matrix's name.

    Args:
        header: the file's.

    Raises:
        ValueError: there are not as many numbers as matrices.
    """
    found = {}
    for name, scale in header.tensors.items():
        matrix = name.removesuffix(_SCALE) + _WEIGHT
        if not name.endswith(_SCALE) or not _is_nvfp4(header, matrix):
            continue
        stack = prod(header.tensors[matrix].shape[:-2])
        if prod(scale.shape) not in {1, stack}:
            raise ValueError(f"{name} has {prod(scale.shape)} numbers for {stack} matrices")
        found[matrix] = name
    return found


def scales_of_inputs(header: GgufHeader) -> set[str]:
    """The names of scales of activations, which a server rounds by them."""
    return {
        name
        for name in header.tensors
        if name.endswith(OF_INPUTS) and _is_nvfp4(header, name.removesuffix(OF_INPUTS) + _WEIGHT)
    }


def whole(
    blob: np.ndarray, header: GgufHeader, name: str, scales: Mapping[str, str]
) -> Float32[np.ndarray, "..."]:
    """The numbers of a tensor, times its second scale where it has one.

    Args:
        blob: the file's bytes.
        header: the file's.
        name: the tensor's.
        scales: as `second_scales` gives them.
    """
    values = dense(blob, header.tensors[name])
    if name not in scales:
        return values
    second = dense(blob, header.tensors[scales[name]])
    scaled: np.ndarray = values * second.reshape((-1, 1, 1) if second.size > 1 else ())
    return scaled


def _is_nvfp4(header: GgufHeader, matrix: str) -> bool:
    return matrix in header.tensors and header.tensors[matrix].kind == _KIND
