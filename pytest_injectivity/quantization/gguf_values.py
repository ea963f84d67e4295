"""Turns the blocks of a ``.gguf`` file's tensors into numbers, by the library ``gguf``."""

from typing import Any

import numpy as np

from pytest_injectivity.core.shapes import Float32
from pytest_injectivity.quantization.gguf_header import GgufTensor

# Numbers decoded at once: the library's own groups of sixteen rows take as long again in overhead,
# and whole tensors need several times their size in memory.
_AT_ONCE = 2**21


def dense(
    blob: np.ndarray, tensor: GgufTensor, *, at_once: int = _AT_ONCE
) -> Float32[np.ndarray, "..."]:
    """The numbers of a tensor, in float32.

    Args:
        blob: the file's bytes.
        tensor: where it lies.
        at_once: about how many numbers are decoded together; it bounds the memory.

    Raises:
        ValueError: the tensor holds integers, or is of a type that the library does not decode.
    """
    from gguf import GGMLQuantizationType, quants

    if tensor.kind.startswith("I") and tensor.kind[1:].isdigit():
        raise ValueError(f"type {tensor.kind} holds integers, which are no weights")
    stored = blob[tensor.start : tensor.start + tensor.nbytes]
    if tensor.kind == "F64":
        return stored.view(np.float64).astype(np.float32).reshape(tensor.shape)
    if tensor.kind == "F32":
        return stored.view(np.float32).reshape(tensor.shape)
    if tensor.kind == "F16":
        return stored.view(np.float16).astype(np.float32).reshape(tensor.shape)
    kind = GGMLQuantizationType[tensor.kind]
    columns = tensor.shape[-1]
    rows = stored.reshape(-1, stored.size // max(1, int(np.prod(tensor.shape[:-1]))))
    found = np.empty((len(rows), columns), np.float32)
    step = max(1, at_once // columns)
    decode: Any = quants.dequantize  # its annotations are numpy's of an older version
    for begin in range(0, len(rows), step):
        some = rows[begin : begin + step]
        found[begin : begin + step] = decode(some.reshape(1, -1), kind).reshape(-1, columns)
    return found.reshape(tensor.shape)
