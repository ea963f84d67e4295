"""Computes with some parts of another model in the place of a model's own."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from pytest_injectivity.core.layers import HEAD, layer_id
from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.quantization.formats.registry import packed
from pytest_injectivity.reference.errors.rescaled import Scales
from pytest_injectivity.reference.parts import Part


class NotExchanged(ModelError):  # noqa: N818 - it names what is so
    """Parts of a model cannot be exchanged: they stay on disk, or several devices share them.

    Args:
        source: the model.
        why: what is so of its parts, in words.
        option: what would hold them in one place.
    """

    def __init__(self, source: str, why: str, option: str) -> None:
        super().__init__(f"{source}: {why}, and no part of them is exchanged: {option} is accepted")
        self.why = why


@contextmanager
def exchanged(
    decoder: Decoder,
    other: Decoder,
    parts: Sequence[Part],
    scales: Mapping[tuple[str, str], Scales] | None = None,
) -> Iterator[None]:
    """Lets a model compute with parts of another model of the same shape.

    Weights of plain modules are exchanged as they are. Of packed modules, of modules of which one has no
    bias, of those with a factor that one model moved to another part, and of embeddings and a head,
    which may share a matrix, the output is exchanged: what the other module makes of the same inputs.

    Args:
        decoder: the model; it is as it was afterwards.
        other: whose parts are taken.
        parts: which; of a fused module, its outputs alone.
        scales: what the other model's parts are multiplied by to stand for the model's own, by site and
            name (`with_scales`).

    Raises:
        NotExchanged: the blocks of one of them stay on disk, or several devices share them.
    """
    for one in (decoder, other):
        if one.streamed is not None:
            why = "its blocks stay on disk (--injx-load=stream)"
            raise NotExchanged(one.source, why, "--injx-load=whole")
        if one.shared:
            why = "several devices share its blocks (--injx-device=balanced)"
            raise NotExchanged(one.source, why, "--injx-device=cuda")
    with ExitStack() as stack:
        for part in parts:
            own, theirs = part.of(decoder), part.of(other)
            scale = (scales or {}).get((part.site, part.name))
            plain = scale is None and part.site not in {layer_id(0), HEAD}
            if plain and _alike(own, theirs):
                stack.enter_context(_weights(own, theirs, part.outputs))
            else:
                taken = _Instead(theirs, other.dtype, part.outputs, scale or Scales())
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
        scales: of the inputs, and of the outputs that are taken.
    """

    def __init__(
        self, theirs: Any, dtype: torch.dtype, outputs: Tensor | None, scales: Scales
    ) -> None:
        self._theirs, self._dtype, self._outputs, self._scales = theirs, dtype, outputs, scales

    def __call__(
        self, _own: object, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor
    ) -> Tensor:
        given = {name: self._given(one) for name, one in kwargs.items()}
        # Past its hooks, which may be those of an exchange as well.
        made: Tensor = self._theirs.forward(*map(self._given, args), **given)
        if self._outputs is None:
            return _times(made, self._scales.outputs).to(output)
        mixed = output.clone()
        mixed[..., self._outputs] = _times(made[..., self._outputs], self._scales.outputs).to(
            output
        )
        return mixed

    def _given(self, argument: Any) -> Any:
        floating = isinstance(argument, Tensor) and argument.is_floating_point()
        return _times(argument, self._scales.inputs).to(self._dtype) if floating else argument


def _times(tensor: Tensor, factor: Tensor | None) -> Tensor:
    return tensor if factor is None else tensor * factor.to(tensor)


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
