"""What rounding may make of a backward pass: random relative noise on the gradients inside the blocks.

A Jacobian is a product of many matrices, and what is rounded inside it is not seen in the result: where
one factor takes back what another has drawn out, the error is that of the large numbers between them.
So the pass is repeated over the same graph with noise on the gradients, of the size of the rounding of
one product of matrices, and the Jacobian moves by about as much as rounding has moved it. An estimate,
not a bound: rounding may conspire, and what is rounded in the forward pass moves the point at which the
Jacobian is taken.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pytest_injectivity.models.decoder import Decoder


class BackwardNoise:
    """Adds noise to the gradients of what each module in the blocks gets and gives, while it is on.

    The noise of a number is Gaussian, ``eps sqrt(width)`` of the number itself: the rounding of a
    product of matrices of that width (Higham, section 3.5).

    Args:
        decoder: whose forward passes are watched within `watched`.
    """

    def __init__(self, decoder: Decoder) -> None:
        self._blocks = decoder.parts.blocks
        self._random: torch.Generator | None = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Within it the graphs of forward passes take the noise; a graph does so ever after."""
        modules = [module for block in self._blocks for module in block.modules()]
        hooks = [module.register_forward_hook(self._seen) for module in modules]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @contextmanager
    def on(self, device: torch.device, seed: int) -> Iterator[None]:
        """Within it backward passes are perturbed, each time in the same way."""
        self._random = torch.Generator(device).manual_seed(seed)
        try:
            yield
        finally:
            self._random = None

    def _seen(self, _module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        given = output if isinstance(output, (tuple, list)) else (output,)
        for one in (*args, *given):
            if isinstance(one, Tensor) and one.requires_grad:
                one.register_hook(self._perturbed)  # type: ignore[no-untyped-call] # torch's own

    def _perturbed(self, gradient: Tensor) -> Tensor | None:
        if self._random is None:
            return None
        size = torch.finfo(gradient.dtype).eps * gradient.shape[-1] ** 0.5
        noise = torch.empty_like(gradient).normal_(generator=self._random)
        return gradient.addcmul(gradient, noise, value=size)
