"""The head of a language model, applied to some of the states that its base model returns.

The library's own code turns states into logits (soft caps and scales differ between families); its base
model is replaced by the states given. So the logits of a few positions cost what these positions cost,
and a vocabulary of 262,144 ids is never held for a whole prompt.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from pytest_injectivity.core.shapes import Float
from pytest_injectivity.models.decoder import Decoder

_HALF = (torch.float16, torch.bfloat16)

_WEIGHTS = 2**24
"""How many weights of a head in half precision are converted to float32 at once: 64 MB."""


class Head:
    """The head of a decoder.

    A head in 16 bits multiplies in float32, because logits rounded to 8 bits tie where the model's own
    order is clear. Packed weights multiply as they are, and their logits are converted.

    Args:
        decoder: the model.

    Attributes:
        decoder: as given.
        vocab_size: how many logits a position has; padded heads have more than the tokenizer has ids.
        narrow: the dtype that the logits are rounded to, such as ``"bfloat16"``; empty where they are
            computed in float32 or wider.

    Example:
        >>> head = Head(audit.decoder)
        >>> states = audit.decoder.states(torch.tensor([[1, 2, 3]]), ["norm"])["norm"][0]
        >>> head.logits(states).shape
        torch.Size([3, 2048])
    """

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        model: Any = decoder.model
        base: Any = decoder.parts.base
        self._module = model.get_output_embeddings()
        self._widened = _is_half(self._module)
        with torch.no_grad(), decoder.running():
            one = torch.zeros(1, 1, dtype=torch.long, device=decoder.device)
            self._output = base(input_ids=one, use_cache=False)
        found = self._logits(self._output.last_hidden_state[0])
        self.vocab_size = found.shape[1]
        self.narrow = str(found.dtype).removeprefix("torch.") if found.dtype in _HALF else ""

    def logits(self, states: Float[Tensor, "positions hidden"]) -> Float[Tensor, "positions vocab"]:
        """The next-token logits after each state, in float32 or wider.

        Args:
            states: of layer ``"norm"``, in the model's dtype.
        """
        found = self._logits(states)
        return found.float() if found.dtype in _HALF else found

    def _logits(self, states: Tensor) -> Tensor:
        base, given = self.decoder.parts.base, copy(self._output)
        given["last_hidden_state"] = states[None]
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(self.decoder.running())
            stack.enter_context(_computing(base, lambda *_args, **_named: given))
            if self._widened:
                stack.enter_context(_computing(self._module, self._in_float32))
            ids = torch.zeros(1, len(states), dtype=torch.long, device=self.decoder.device)
            model: Any = self.decoder.model
            found: Tensor = model(input_ids=ids, use_cache=False).logits
        return found[0]

    def _in_float32(self, states: Tensor) -> Tensor:
        weight, bias = self._module.weight, self._module.bias
        step, wide = max(1, _WEIGHTS // weight.shape[1]), states.float()
        found = torch.empty(*states.shape[:-1], len(weight), device=states.device)
        for start in range(0, len(weight), step):
            found[..., start : start + step] = wide @ weight[start : start + step].float().T
        return found if bias is None else found + bias.float()


def _is_half(module: Any) -> bool:
    """Whether a head is a plain matrix in half precision, which can be multiplied in float32."""
    if type(module) is not nn.Linear or type(module.weight) not in (Tensor, nn.Parameter):
        return False
    return module.weight.dtype in _HALF


@contextmanager
def _computing(module: Any, forward: Callable[..., Any]) -> Iterator[None]:
    """Have a module compute something else for a while."""
    own = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own
