"""Which weights of a model may change, by name, how large changes are, and those that rounding makes."""

import math
from collections.abc import Mapping
from typing import TypeAlias

from torch import Tensor
from torch.nn import Parameter
from transformers.pytorch_utils import Conv1D

from pytest_injectivity.core.layers import layer_id
from pytest_injectivity.errors import OptionError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.quantization.group_rounding import rounded_in_groups

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


def rounding_of(decoder: Decoder, over: str | int, bits: int) -> dict[str, Tensor]:
    """How far each matrix of what may change moves where it is rounded to so many bits.

    Groups of 64 inputs share a scale, as in quantized checkpoints; vectors, such as biases and weights
    of norms, are not rounded.

    Raises:
        OptionError: there is no such part, or bits is less than 2.
    """
    turned = {
        id(module.weight) for module in decoder.parts.base.modules() if isinstance(module, Conv1D)
    }
    return {
        name: _moved(one.detach().T, bits).T if id(one) in turned else _moved(one.detach(), bits)
        for name, one in weights_of(decoder, over)[1].items()
        if one.dim() > 1
    }


def _moved(weight: Tensor, bits: int) -> Tensor:
    """How far a weight moves whose last dimension is its inputs."""
    return rounded_in_groups(weight.flatten(0, -2), bits).reshape(weight.shape) - weight
