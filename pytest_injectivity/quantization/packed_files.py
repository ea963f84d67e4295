"""The quantization of weights that the library makes dense as it reads them, proved by their files.

The modules of such a model hold plain weights, so nothing can be proved on them. The types that the file
stores are proof instead, together with the refusal of any parameter that the file does not fill.
"""

from collections import Counter
from collections.abc import Mapping

from torch import nn

from pytest_injectivity.quantization.formats.base import Format
from pytest_injectivity.quantization.info import QuantizationInfo
from pytest_injectivity.quantization.packed_modules import counted, matrix_numbers
from pytest_injectivity.quantization.stored_tensors import StoredTensor


def stored(
    row: Format, tensors: Mapping[str, StoredTensor], blocks: nn.Module
) -> QuantizationInfo | None:
    """What files hold of the blocks that the library makes dense as it reads them.

    Args:
        row: the format of the checkpoint.
        tensors: of its weights files, by name.
        blocks: as they were loaded.

    Returns:
        None for formats that stay packed in a model, and where the files store plain weights.

    Raises:
        ModelError: the files contradict themselves.
    """
    found = row.stored(tensors)
    numbers = sum(one.numbers for one in found)
    if not numbers:
        return None
    forms = Counter(one.form for one in found)
    return QuantizationInfo(
        kind=f"{row.name} {forms.most_common(1)[0][0]}",
        bits=sum(one.bits * one.numbers for one in found) / numbers,
        share=min(1.0, numbers / matrix_numbers(blocks)),
        layers=counted(forms),
        dense=True,
    )
