"""Which weights of a model may change, by name, and how large changes of them are."""

import math
from collections.abc import Mapping
from typing import TypeAlias

from torch import Tensor
from torch.nn import Parameter

from pytest_injectivity.core.layers import layer_id
from pytest_injectivity.errors import OptionError
from pytest_injectivity.models.decoder import Decoder

Weights: TypeAlias = Mapping[str, Tensor]
"""Weights, or a change of them, by the names of the tensors in the base model."""


def weights_of(decoder: Decoder, over: str | int) -> tuple[str, dict[str, Parameter]]:
    """The name and the floating-point weights of what may change.

    Raises:
        OptionError: there is no such part.
    """
    every = {
        name: one for name, one in decoder.parts.base.named_parameters() if one.is_floating_point()
    }
    if over == "all":
        return "all", every
    if over == "embedding":
        kept = decoder.parts.embeddings.weight
        return "embedding", {name: one for name, one in every.items() if one is kept}
    if not isinstance(over, int) or isinstance(over, bool) or not 1 <= over <= decoder.n_layers:
        raise OptionError(
            f"over={over!r}: give all, embedding, or the number of a block, 1 to {decoder.n_layers}"
        )
    own = {id(one) for one in decoder.parts.blocks[over - 1].parameters()}
    return layer_id(over), {name: one for name, one in every.items() if id(one) in own}


def norm_of(weights: Weights) -> float:
    """The Euclidean norm of all of them together."""
    return math.sqrt(sum(float(one.square().sum()) for one in weights.values()))
