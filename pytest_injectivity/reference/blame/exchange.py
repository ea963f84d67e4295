"""Computes with some parts of another model in the place of a model's own."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.reference.parts import Part


@contextmanager
def exchanged(decoder: Decoder, other: Decoder, parts: Sequence[Part]) -> Iterator[None]:
    """Lets a model compute with parts of another model of the same shape.

    What the other model's module makes of the same inputs is taken instead of the own module's output,
    so that parts of any quantization can be exchanged; of a fused module, the half that is meant.

    Args:
        decoder: the model; its modules stay as they are.
        other: whose parts are taken.
        parts: which.
    """
    with ExitStack() as stack:
        for part in parts:
            own, theirs = part.of(decoder), part.of(other)
            if any(True for _ in own.children()):
                stack.enter_context(_own_parameters(own, theirs))
            else:
                taken = _Instead(theirs, other.dtype, part.outputs)
                stack.enter_context(own.register_forward_hook(taken, with_kwargs=True))
        yield


class _Instead:
    """A hook that gives another module's outputs for the same inputs.

    Args:
        theirs: the other module.
        dtype: what it computes in.
        outputs: those that are taken; None: all.
    """

    def __init__(self, theirs: Any, dtype: torch.dtype, outputs: Tensor | None) -> None:
        self._theirs, self._dtype, self._outputs = theirs, dtype, outputs

    def __call__(
        self, _own: object, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor
    ) -> Tensor:
        given = {name: _as(self._dtype, one) for name, one in kwargs.items()}
        # Past its hooks, which may be those of an exchange as well.
        made: Tensor = self._theirs.forward(*(_as(self._dtype, one) for one in args), **given)
        taken = made.to(output)
        if self._outputs is None:
            return taken
        mixed = output.clone()
        mixed[..., self._outputs] = taken[..., self._outputs]
        return mixed


def _as(dtype: torch.dtype, argument: Any) -> Any:
    floating = isinstance(argument, Tensor) and argument.is_floating_point()
    return argument.to(dtype) if floating else argument


@contextmanager
def _own_parameters(own: nn.Module, theirs: nn.Module) -> Iterator[None]:
    """Exchanges the parameters that a module holds beside those of its children."""
    kept = {name: one.data for name, one in own.named_parameters(recurse=False)}
    others = dict(theirs.named_parameters(recurse=False))
    try:
        for name, one in own.named_parameters(recurse=False):
            one.data = others[name].data.to(one)
        yield
    finally:
        for name, one in own.named_parameters(recurse=False):
            one.data = kept[name]
