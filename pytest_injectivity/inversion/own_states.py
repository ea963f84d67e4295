"""The states that a model itself has of a prompt, at every position: what SipIt inverts."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.models.decoder import Decoder


def observe(
    decoder: Decoder, ids: Sequence[int], layers: Sequence[Layer]
) -> dict[Layer, Float[Tensor, "length hidden"]]:
    """The states of one prompt at every position: what SipIt inverts.

    Args:
        decoder: the model.
        ids: the prompt.
        layers: the layers kept, from one pass.

    Returns:
        By layer, in the model's dtype, on its device.
    """
    found = decoder.states(torch.tensor([list(ids)], dtype=torch.long), layers)
    return {layer: states[0] for layer, states in found.items()}
