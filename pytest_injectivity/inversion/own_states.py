"""The states that a model itself has of a prompt, at every position: what SipIt inverts."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.batches import padded_length


def observe(
    decoder: Decoder, ids: Sequence[int], layers: Sequence[Layer]
) -> dict[Layer, Float[Tensor, "length hidden"]]:
    """The states of one prompt at every position: what SipIt inverts.

    The prompt is padded as capture pads it: attention among a few tokens rounds in a way of its own,
    which no other evaluation shows.

    Args:
        decoder: the model.
        ids: the prompt.
        layers: the layers kept, from one pass.

    Returns:
        By layer, in the model's dtype, on its device.
    """
    width = padded_length(len(ids))
    if decoder.context is not None and width > decoder.context:
        width = len(ids)
    padded = [*ids, *list(ids[-1:]) * (width - len(ids))]
    found = decoder.states(torch.tensor([padded], dtype=torch.long), layers)
    return {layer: states[0, : len(ids)] for layer, states in found.items()}
