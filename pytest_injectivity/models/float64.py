"""True float64: the library's forward pass without its casts to float32 (SPEC section 2).

``model.double()`` is not float64 throughout: the library's norms, softmax and rotary embeddings
cast to float32 inside. Under :class:`Float64Mode` such a cast becomes one to float64, and a tensor made
without a dtype is one of float64. Tables made at construction in float32 (rotary frequencies) stay
rounded: constants, the same for every prompt.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch.nn import Parameter
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

from pytest_injectivity.quantization.packed_modules import unpack


class Float64Mode(TorchFunctionMode):
    """Turns every cast or request for float32 made inside it into one for float64.

    The default dtype is float64 inside it: the library makes constants of an attention (a lower bound
    of its scores, slopes, quotients of positions) without naming a dtype.
    """

    def __enter__(self) -> Self:
        """Enters the mode; see the class."""
        self._default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        enter: Any = super().__enter__  # torch's own has no types
        enter()
        return self

    def __exit__(self, *raised: object) -> None:
        """Leaves the mode and restores the default dtype, whatever was raised."""
        leave: Any = super().__exit__  # as above
        leave(*raised)
        torch.set_default_dtype(self._default)

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
        # Called at every operation. Identity, not equality: comparing a tensor with a dtype costs a call
        # back into the mode.
        narrow, wide = torch.float32, torch.float64
        widened = [wide if one is narrow else one for one in args]
        if not kwargs:
            return func(*widened)
        named = {name: wide if one is narrow else one for name, one in kwargs.items()}
        return func(*widened, **named)


def float64_copy(model: PreTrainedModel) -> PreTrainedModel:
    """The same weights in float64, quantized ones unpacked; the model given stays as it is.

    Experts are run one after the other by the library's plain loop: its grouped products have no
    float64.
    """
    # What is widened is copied by that.
    shared = {
        id(one): Parameter(one.data, requires_grad=False)
        for one in model.parameters()
        if type(one) is Parameter and one.is_floating_point() and one.dtype != torch.float64
    }
    copied = copy.deepcopy(model, shared)
    unpack(copied)
    copied.set_experts_implementation("eager")
    return copied.double()


def release(copied: PreTrainedModel) -> None:
    """Frees the weights of a copy at once, which computes nothing afterwards.

    Parts of a model form cycles, which wait for the garbage collector, and a collection takes a quarter
    of a second.
    """
    for one in copied.parameters():
        one.data = one.data.new_empty(0)
