"""The bits that were proved of each block's weights, and of the matrices before and after the blocks."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import nn

from pytest_injectivity.quantization.formats.base import StoredMatrix, block_of
from pytest_injectivity.quantization.info import BlockBits
from pytest_injectivity.quantization.packed_modules import matrix_numbers, packed_layers

_EMBEDDING = re.compile(
    r"(?:.*\.)?(?:token_embd|embed_tokens|embed_in|wte|word_embeddings|embeddings)\.weight"
)
_HEAD = re.compile(r"(?:output|(?:.*\.)?(?:lm_head|embed_out))\.weight")


@dataclass(frozen=True)
class _Quantized:
    """Matrices of one block: the bits of their numbers, and how many there are."""

    bits: float
    numbers: int


def stored_blocks(found: Iterable[StoredMatrix], blocks: nn.Module) -> tuple[BlockBits, ...]:
    """The bits of each block whose matrices a file stores in few bits.

    Args:
        found: the matrices, by name.
        blocks: the blocks as they were loaded, in order.
    """
    by_block: dict[int, list[_Quantized]] = {}
    for one in found:
        if (block := block_of(one.name)) is not None:
            by_block.setdefault(block, []).append(_Quantized(one.bits, one.numbers))
    sizes = {at: matrix_numbers(block) for at, block in enumerate(blocks.children())}
    return tuple(
        _joined(at, every, sizes[at]) for at, every in sorted(by_block.items()) if at in sizes
    )


def packed_blocks(blocks: nn.Module) -> tuple[BlockBits, ...]:
    """The bits of each block that has packed layers.

    Args:
        blocks: the blocks of a loaded model, in order.
    """
    return tuple(_packed(blocks))


def _packed(blocks: nn.Module) -> Iterator[BlockBits]:
    for at, block in enumerate(blocks.children()):
        layers = [(module, layer) for _, module, layer in packed_layers(block)]
        if layers:
            every = [_Quantized(layer.bits, layer.numbers) for _, layer in layers]
            plain = matrix_numbers(block, but=[module for module, _ in layers])
            yield _joined(at, every, plain + sum(one.numbers for one in every))


def bits_of_embedding(found: Iterable[StoredMatrix]) -> float | None:
    """The bits of the token embeddings that a file stores in few bits; None where it does not."""
    return next((one.bits for one in found if _EMBEDDING.fullmatch(one.name)), None)


def bits_of_head(found: Iterable[StoredMatrix]) -> float | None:
    """Likewise, of the language-model head; None too where it shares the embeddings' matrix."""
    return next((one.bits for one in found if _HEAD.fullmatch(one.name)), None)


def _joined(block: int, every: list[_Quantized], size: int) -> BlockBits:
    numbers = sum(one.numbers for one in every)
    return BlockBits(
        block=block + 1,
        bits=sum(one.bits * one.numbers for one in every) / numbers,
        least=min(one.bits for one in every),
        share=min(1.0, numbers / size) if size else 1.0,
    )
