"""Computes with some parts of another model in the place of a model's own."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from pytest_injectivity.core.layers import HEAD, layer_id
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.quantization.formats.registry import packed
from pytest_injectivity.reference.parts import Part


@contextmanager
def exchanged(decoder: Decoder, other: Decoder, parts: Sequence[Part]) -> Iterator[None]:
    """Lets a model compute with parts of another model of the same shape.

    Weights of plain modules are exchanged as they are. Of packed modules, of modules of which one has no
    bias, and of embeddings and a head, which may share a matrix, the output is exchanged: what the other
    module makes of the same inputs.

    Args:
        decoder: the model; it is as it was afterwards.
        other: whose parts are taken.
        parts: which; of a fused module, its outputs alone.
    """
    with ExitStack() as stack:
        for part in parts:
            own, theirs = part.of(decoder), part.of(other)
            if part.site not in {layer_id(0), HEAD} and _alike(own, theirs):
                stack.enter_context(_weights(own, theirs, part.outputs))
            else:
                taken = _Instead(theirs, other.dtype, part.outputs)
                stack.enter_context(own.register_forward_hook(taken, with_kwargs=True))
        yield


def _alike(own: nn.Module, theirs: nn.Module) -> bool:
    """Whether two modules hold plain parameters of the same names."""
    names = [{name for name, _ in one.named_parameters(recurse=False)} for one in (own, theirs)]
    return packed(own) is packed(theirs) is None and names[0] == names[1]


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
def _weights(own: nn.Module, theirs: nn.Module, outputs: Tensor | None) -> Iterator[None]:
    """Exchanges the parameters that a module holds itself, or the rows of some outputs."""
    others = dict(theirs.named_parameters(recurse=False))
    held = dict(own.named_parameters(recurse=False))
    kept = {name: one.data for name, one in held.items()}
    try:
        for name, one in held.items():
            # Outputs are the columns of a Conv1D.
            turned = isinstance(own, Conv1D) and name == "weight"
            one.data = _mixed(kept[name], others[name].data, outputs, dimension=int(turned))
        yield
    finally:
        for name, one in held.items():
            one.data = kept[name]


def _mixed(own: Tensor, theirs: Tensor, outputs: Tensor | None, *, dimension: int) -> Tensor:
    taken = theirs.to(own)
    if outputs is None:
        return taken
    at = outputs.to(own.device)
    return own.index_copy(dimension, at, taken.index_select(dimension, at))
