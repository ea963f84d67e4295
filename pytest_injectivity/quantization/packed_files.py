"""The quantization of weights that are dense once they are loaded, proved by their files.

The modules of such a model hold plain weights, so nothing can be proved on them. The types that the file
stores are proof instead, together with the refusal of any parameter that the file does not fill.
"""

from collections import Counter
from collections.abc import Sequence
from math import prod

from torch import nn

from pytest_injectivity.quantization.block_bits import (
    bits_of_embedding,
    bits_of_head,
    stored_blocks,
)
from pytest_injectivity.quantization.decoding.decoding import Decoding
from pytest_injectivity.quantization.decoding.encoded import EncodedMatrix
from pytest_injectivity.quantization.formats.base import Format, StoredMatrix, in_blocks
from pytest_injectivity.quantization.info import QuantizationInfo
from pytest_injectivity.quantization.packed_modules import counted, matrix_numbers


def stored_info(row: Format, decoding: Decoding, blocks: nn.Module) -> QuantizationInfo | None:
    """What files hold of the blocks in few bits.

    Args:
        row: the format of the checkpoint.
        decoding: what of its files is decoded here.
        blocks: as they were loaded.

    Returns:
        None for formats that stay packed in a model, and where the files store plain weights.
    """
    every = _stored(decoding.matrices) or row.stored(decoding.stored.tensors)
    found = [one for one in every if in_blocks(one.name)]
    numbers = sum(one.numbers for one in found)
    if not numbers:
        return None
    forms = Counter(one.form for one in found)
    return QuantizationInfo(
        kind=f"{row.name} {_kinds(forms)}",
        bits=sum(one.bits * one.numbers for one in found) / numbers,
        share=min(1.0, numbers / matrix_numbers(blocks)),
        layers=counted(forms),
        dense=True,
        rounds_activations=any(row.rounds_activations(module) for module in blocks.modules()),
        leaves_activations=row.leaves_activations(decoding.stored),
        blocks=stored_blocks(found, blocks),
        embedding=bits_of_embedding(every),
        head=bits_of_head(every),
    )


def _kinds(forms: Counter[str]) -> str:
    """The names of one or two types; of more, the most common one."""
    if len(forms) <= 2:  # noqa: PLR2004 - as said
        return " and ".join(sorted(forms))
    return f"{forms.most_common(1)[0][0]} and others"


def _stored(encoded: Sequence[EncodedMatrix]) -> list[StoredMatrix]:
    return [StoredMatrix(one.name, one.bits, prod(one.shape), one.form) for one in encoded]
