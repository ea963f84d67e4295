"""Weights that were scaled for their quantization, with the factor taken back (AWQ, SmoothQuant).

Such a method divides the outputs of one part by a factor for each channel and multiplies the inputs of
the next parts by it, which changes no function: a norm and what reads it, values and the output
projection, ``up`` and ``down``. The factor is measured on the part before. It is taken back where that
explains the weights: the errors of the group fall to less than a half, and no part after has a larger
one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from pytest_injectivity.core.shapes import Float
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.reference.errors.weight_error import WeightError, tensor_error
from pytest_injectivity.reference.parts import HEAD, Part, Role

_GROUPS: tuple[tuple[Role, tuple[Role, ...]], ...] = (
    ("attention norm", ("q", "k", "v")),
    ("mlp norm", ("gate", "up")),
    ("v", ("o",)),
    ("up", ("down",)),
)
_CHANGED = 0.1
_FALL = 0.5
_GROWTH = 1.5


@dataclass(frozen=True)
class Group:
    """A part, and the parts that read its outputs.

    Attributes:
        before: the part whose outputs may be scaled.
        after: the parts whose inputs may be scaled back.
    """

    before: Part
    after: tuple[Part, ...]


def groups_of(parts: Sequence[Part]) -> Iterator[Group]:
    """The groups of parts that may be scaled together.

    Args:
        parts: of a model.
    """
    sites = dict.fromkeys(part.site for part in parts)
    for site in sites:
        here = [part for part in parts if part.site == site]
        for role, roles in _GROUPS:
            before = [part for part in here if part.role == role]
            after = tuple(part for part in here if part.role in roles)
            if len(before) == 1 and after:
                yield Group(before[0], after)
    norms, heads = ([part for part in parts if part.site == site] for site in ("norm", HEAD))
    if len(norms) == 1 and heads:
        yield Group(norms[0], tuple(heads))


def taken_back(
    child: Decoder, parent: Decoder, parts: Sequence[Part], errors: Sequence[WeightError]
) -> tuple[WeightError, ...]:
    """The errors, with the factors of scaled groups taken back.

    Args:
        child: the model.
        parent: the model it was made from.
        parts: of the parent.
        errors: of all tensors, as they are.
    """
    found = {(one.site, one.part, one.tensor): one for one in errors}
    for group in groups_of(parts):
        factor = _factor(group.before, child, parent)
        if factor is None or not bool(((factor - 1).abs() > _CHANGED).any()):
            continue
        again = list(_again(group, factor, child, parent))
        pairs = [
            (found[key], one) for one in again if (key := (one.site, one.part, one.tensor)) in found
        ]
        if pairs and _explains(group.before, pairs):
            found |= {(one.site, one.part, one.tensor): one for _, one in pairs}
    return tuple(found.values())


def _explains(before: Part, pairs: list[tuple[WeightError, WeightError]]) -> bool:
    """Whether errors fall to less than a half in all, and those of the parts after do not grow."""
    was, is_now = (sum(pair[side].error ** 2 for pair in pairs) for side in (0, 1))
    after = [pair for pair in pairs if pair[1].part != before.name]
    return is_now < _FALL**2 * was and all(new.error <= _GROWTH * old.error for old, new in after)


def _factor(part: Part, child: Decoder, parent: Decoder) -> Float[Tensor, " channels"] | None:
    """What the child's outputs of a part are multiplied by, a number for each channel."""
    modules = [part.of(one) for one in (child, parent)]
    if part.role in {"attention norm", "mlp norm"} or part.site == "norm":
        return _ratio_of_norms(*modules)
    own, exact = (dict(part.tensors(one))["weight"].double() for one in (child, parent))
    norms = exact.square().sum(1)
    return torch.where(norms > 0, (own * exact).sum(1) / norms, 1.0)


def _ratio_of_norms(own: Any, exact: Any) -> Float[Tensor, " channels"] | None:
    """The ratio of two norms' gains, whatever their formula: an odd function of the input's sign."""
    width = max((one.numel() for one in exact.parameters(recurse=False)), default=0)
    if not width:
        return None
    drawn = torch.randn(1, width, generator=torch.Generator().manual_seed(0))

    def gain(norm: nn.Module) -> Tensor:
        weight = next(norm.parameters(recurse=False))
        rows = drawn.to(weight)
        made: Tensor = (norm(rows) - norm(-rows)).double()[0]
        return made

    with torch.no_grad():
        ours, theirs = gain(own), gain(exact)
    return torch.where(theirs == 0, 1.0, ours / theirs)


def _again(group: Group, factor: Tensor, child: Decoder, parent: Decoder) -> Iterator[WeightError]:
    """The errors of a group with a factor taken back."""
    name = group.before.name
    for own_name, own, exact in _both(group.before, child, parent):
        if own_name == "weight" and exact.ndim == 1:
            # The factor is the ratio of the two norms: nothing is left of their difference.
            yield replace(tensor_error(group.before, own_name, exact, exact), rescaled=name)
        else:
            scaled = own.double() / _shaped(factor, exact.ndim)
            yield replace(tensor_error(group.before, own_name, scaled, exact), rescaled=name)
    for part in group.after:
        for own_name, own, exact in _both(part, child, parent):
            if exact.ndim == 1:
                continue
            # Heads of keys and values may be shared by several heads of queries.
            times = exact.shape[1] // len(factor)
            if times * len(factor) == exact.shape[1]:
                columns = _shared(factor, times, parent)
                yield replace(
                    tensor_error(part, own_name, own.double() * columns, exact), rescaled=name
                )


def _both(part: Part, child: Decoder, parent: Decoder) -> Iterator[tuple[str, Tensor, Tensor]]:
    theirs = dict(part.tensors(parent))
    for name, own in part.tensors(child):
        if name in theirs and own.shape == theirs[name].shape:
            yield name, own, theirs[name]


def _shaped(factor: Tensor, dimensions: int) -> Tensor:
    return factor[:, None] if dimensions > 1 else factor


def _shared(factor: Tensor, times: int, decoder: Decoder) -> Tensor:
    if times == 1:
        return factor
    config: Any = decoder.model.config.get_text_config()
    groups = int(getattr(config, "num_key_value_heads", None) or 1)
    return factor.view(groups, -1).repeat_interleave(times, dim=0).flatten()
