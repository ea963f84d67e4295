"""The bits that were proved of a model's weights, block by block."""

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.models.decoder import Decoder

FULL = 16.0
"""The bits of weights that are not quantized: the fewest that such a checkpoint stores."""


def bits_at(decoder: Decoder, layer: Layer) -> float:
    """The fewest bits proved of a quantized matrix at a layer; `FULL` where none is quantized.

    Args:
        decoder: the model.
        layer: 0 for the embeddings, 1 to L for the blocks, ``"norm"`` for the final norm and the head.

    Example:
        >>> from pytest_injectivity import load_decoder
        >>> bits_at(load_decoder("builtin:gpt2-stdlib", device="cpu"), 1)
        16.0
    """
    info = decoder.quantized
    if info is None:
        return FULL
    if layer == 0:
        return info.embedding or FULL
    if layer == "norm":
        # A head without a matrix of its own has the embeddings'.
        tied = decoder.model.config.get_text_config().tie_word_embeddings
        return info.head or (info.embedding if tied else None) or FULL
    return next((one.least for one in info.blocks if one.block == layer), FULL)
