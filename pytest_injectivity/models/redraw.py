"""Draws every parameter of a model afresh, keeping its architecture (SPEC section 3).

The theorem behind the diagnosis of a collision holds for almost all weights, so that any draw from a
density will do. The scales are chosen so that float64 can tell states apart. A matrix's outputs are half
as large as its inputs: attention scores stay small, and every token that a position may attend to gets a
weight far above the rounding. Vectors have entries of the size of one, biases and norm gains too, which
the library's own initialisation leaves at constants. Buffers, such as rotary tables, belong to the
architecture and stay.
"""

import torch
from torch import Tensor

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.decoder import Decoder

_MATRIX_GAIN = 0.5
_MATRIX_DIMENSIONS = 2

# Parameters that stand in an exponent, by the last part of their name: mean and standard deviation.
# A state-space block forgets a token after exp(-A_log) steps: a wide draw has channels that forget at
# once and channels that remember thousands of tokens, as trained ones do.
_EXPONENTS = {"A_log": (-4.0, 2.0)}


def redraw(decoder: Decoder, generator: torch.Generator) -> None:
    """Overwrites every parameter of a decoder, tied ones once.

    Args:
        decoder: a copy that may be changed, such as `Decoder.as_float64` gives.
        generator: on the decoder's device; it advances, so that calling again draws anew.

    Raises:
        ModelError: a parameter is not made of floating-point numbers, as in quantized layers.
    """
    with torch.no_grad():
        for name, parameter in decoder.model.named_parameters():
            if not parameter.is_floating_point():
                raise ModelError(
                    f"{decoder.source}: parameter {name} is {parameter.dtype} and cannot be drawn"
                    " afresh: floating-point parameters are accepted"
                )
            mean, std = _EXPONENTS.get(name.rpartition(".")[2], (0.0, _scale(parameter)))
            parameter.normal_(mean, std, generator=generator)


def _scale(parameter: Tensor) -> float:
    """The standard deviation of a parameter; the smaller side of a matrix counts as its inputs.

    Some layers keep their matrix transposed, so that neither side is the inputs by position.
    """
    if parameter.ndim < _MATRIX_DIMENSIONS:
        return 1.0
    return float(_MATRIX_GAIN / max(1, min(parameter.shape[-2:])) ** 0.5)
