"""True float64: the library's forward pass without its casts to float32 (SPEC section 2).

``model.double()`` is not float64 throughout: the library's norms, softmax and rotary embeddings
cast to float32 inside. Under :class:`Float64Mode` such a cast becomes one to float64. Tables made
at construction in float32 (rotary frequencies) stay rounded: constants, the same for every prompt.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

from pytest_injectivity.quantization.packed_modules import unpack


class Float64Mode(TorchFunctionMode):
    """Turns every cast or request for float32 made inside it into one for float64."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs ``func`` with float64 wherever its arguments say float32."""
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        named = {key: _widened(value) for key, value in (kwargs or {}).items()}
        return func(*map(_widened, args), **named)


def float64_copy(model: PreTrainedModel) -> PreTrainedModel:
    """The same weights in float64, quantized ones unpacked; the model given stays as it is."""
    copied = copy.deepcopy(model)
    unpack(copied)
    return copied.double()


def _widened(argument: Any) -> Any:
    # Identity, not equality: comparing a tensor with a dtype costs a call back into the mode.
    return torch.float64 if argument is torch.float32 else argument
