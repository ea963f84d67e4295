"""Looks for weights that are not finite, which a file is not refused for: a verdict fails by them."""

from typing import Any

import torch
from torch import nn

from pytest_injectivity.quantization.stored_tensors import Read

_PLAIN = (torch.Tensor, nn.Parameter)
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def weights_not_finite(model: Any, stored: Read | None = None) -> tuple[str, ...]:
    """The names of a model's parameters that have a NaN or an infinity, in the model's order.

    Packed weights are left out: their scales decide, and states show what they make. A tied parameter
    has its first name.

    Args:
        model: with parameters.
        stored: reads the weights that are on disk, by name.

    Example:
        >>> from pytest_injectivity.testing import plant_nan, tiny_decoder
        >>> weights_not_finite(plant_nan(tiny_decoder("llama", layers=1), 1).model)[:1]
        ('model.layers.0.self_attn.q_proj.weight',)
    """
    found = []
    for name, parameter in model.named_parameters():
        if type(parameter) not in _PLAIN or parameter.dtype not in _FLOATS or not parameter.numel():
            continue
        # Of numbers with a NaN both ends are NaN.
        held = stored(name) if stored is not None and parameter.is_meta else parameter.detach()
        low, high = torch.aminmax(held)
        if not bool(low.isfinite() & high.isfinite()):
            found.append(name)
    return tuple(found)
