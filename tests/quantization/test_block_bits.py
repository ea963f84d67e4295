"""What is proved of single blocks."""

import pytest
from torch import nn

from pytest_injectivity import load_decoder
from pytest_injectivity.quantization.block_bits import (
    bits_of_embedding,
    bits_of_head,
    packed_blocks,
    stored_blocks,
)
from pytest_injectivity.quantization.formats.base import StoredMatrix
from pytest_injectivity.quantization.info import BlockBits

BLOCKS = nn.ModuleList(nn.ModuleList([nn.Linear(8, 4), nn.Linear(8, 4)]) for _ in range(3))


def test_blocks_have_the_bits_of_their_own_matrices() -> None:
    """Their mean, the fewest, and the share; a block of plain weights is left out."""
    found = [
        StoredMatrix("model.layers.0.a.weight", 4, 32, "W4"),
        StoredMatrix("model.layers.0.b.weight", 8, 32, "W8"),
        StoredMatrix("blk.2.ffn_up.weight", 4, 32, "Q4_0"),
        StoredMatrix("model.layers.7.a.weight", 4, 32, "W4"),
        StoredMatrix("lm_head.weight", 4, 64, "W4"),
    ]
    assert stored_blocks(found, BLOCKS) == (
        BlockBits(block=1, bits=6.0, least=4, share=1.0),
        BlockBits(block=3, bits=4.0, least=4, share=0.5),
    )


@pytest.mark.parametrize(
    ("name", "embedding", "head"),
    [
        ("token_embd.weight", 6, None),
        ("output.weight", None, 6),
        ("transformer.wte.weight", 6, None),
        ("lm_head.weight", None, 6),
        ("model.embed_tokens.weight", 6, None),
        ("blk.0.attn_output.weight", None, None),
        ("model.layers.0.self_attn.o_proj.weight", None, None),
    ],
)
def test_embedding_and_head_are_known_by_their_names(
    name: str, embedding: float | None, head: float | None
) -> None:
    """In ``.gguf`` files and in the library's."""
    found = [StoredMatrix(name, 6, 64, "Q6_K")]
    assert (bits_of_embedding(found), bits_of_head(found)) == (embedding, head)


def test_a_model_without_packed_layers_has_no_quantized_block() -> None:
    """Plain weights prove nothing."""
    assert packed_blocks(BLOCKS) == ()


def test_a_model_quantized_while_it_is_loaded_tells_the_bits_of_every_block() -> None:
    """Four for nf4, and the whole block."""
    pytest.importorskip("bitsandbytes", reason="the extra bnb is not installed")
    found = load_decoder("builtin:gpt2-stdlib", device="cpu", quantization="bnb-nf4").quantized
    assert found is not None
    assert [(one.block, one.bits, one.share) for one in found.blocks] == [
        (1, 4.0, 1.0),
        (2, 4.0, 1.0),
        (3, 4.0, 1.0),
        (4, 4.0, 1.0),
    ]
