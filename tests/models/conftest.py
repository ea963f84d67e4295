import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.models.decoder import Decoder


@pytest.fixture
def library_states() -> Callable[[Decoder, Tensor], dict[Layer, Tensor]]:
    """The states of one unpadded row by output_hidden_states, as a user would ask for them.

    The library puts the last block's output through the final norm before it returns it, so the raw
    one comes from a copy whose final norm does nothing. Mamba's tuple begins with layer 1.
    """

    def states(decoder: Decoder, row: Tensor) -> dict[Layer, Tensor]:
        raw = copy.deepcopy(decoder.model)
        setattr(raw.get_submodule(decoder.family.base), decoder.family.norm, nn.Identity())
        with torch.no_grad():
            hidden = decoder.model(row[None], output_hidden_states=True).hidden_states
            last = raw(row[None], output_hidden_states=True).hidden_states[-1]
        first = 1 if decoder.family.name == "mamba" else 0
        found = {layer: hidden[layer - first][0] for layer in range(first, decoder.n_layers)}
        return {**found, decoder.n_layers: last[0], "norm": hidden[-1][0]}

    return states
