"""How a file stores weights that the library makes dense as it reads them.

Of such a model its modules show nothing: the file's own types do, and that every key was loaded.
"""

import re
from collections import Counter
from collections.abc import Mapping
from math import prod

from torch import nn

from pytest_injectivity.errors import ModelError
from pytest_injectivity.quantization.formats import GGUF, TABLE, Kind
from pytest_injectivity.quantization.info import QuantizationInfo
from pytest_injectivity.quantization.packed_modules import counted, matrix_numbers
from pytest_injectivity.quantization.stored_tensors import StoredTensor

_BLOCK = re.compile(r"(?:[A-Za-z_]+\.){0,4}(?:layers|h|blocks|blk)\.\d+\.")
_FLOAT8_BITS = 8


def stored(
    kind: Kind, stored_tensors: Mapping[str, StoredTensor], blocks: nn.Module
) -> QuantizationInfo | None:
    """What files hold of the blocks that the library makes dense as it reads them.

    Args:
        kind: how the checkpoint is quantized.
        stored_tensors: of its weights files, by name.
        blocks: as they were loaded.

    Returns:
        None for other kinds, and where the files store plain weights.

    Raises:
        ModelError: an fp8 matrix has no scale.
    """
    if kind is GGUF:
        tensors = _in_gguf(stored_tensors)
    elif kind is TABLE["fp8"]:
        tensors = _in_float8(stored_tensors)
    else:
        return None
    numbers = sum(size for _, size, _ in tensors)
    if not numbers:
        return None
    forms = Counter(form for _, _, form in tensors)
    return QuantizationInfo(
        kind=f"{kind.method} {forms.most_common(1)[0][0]}",
        bits=sum(bits * size for bits, size, _ in tensors) / numbers,
        share=min(1.0, numbers / matrix_numbers(blocks)),
        layers=counted(forms),
        dense=True,
    )


def _in_gguf(tensors: Mapping[str, StoredTensor]) -> list[tuple[int, int, str]]:
    forms: list[tuple[int, int, str]] = []
    for name, tensor in tensors.items():
        bits = re.search(r"Q(\d)|FP(\d)", tensor.dtype)
        if bits is not None and _BLOCK.match(name):
            forms.append((int(bits[1] or bits[2]), prod(tensor.shape), tensor.dtype))
    return forms


def _in_float8(tensors: Mapping[str, StoredTensor]) -> list[tuple[int, int, str]]:
    found = []
    for name, tensor in tensors.items():
        form = tensor.dtype
        if form.startswith("F8_E4") and _BLOCK.match(name):
            if f"{name}_scale_inv" not in tensors:
                raise ModelError(f"{name} is stored in {form} without the scales of its blocks")
            found.append((_FLOAT8_BITS, prod(tensor.shape), form.removeprefix("F8_")))
    return found
