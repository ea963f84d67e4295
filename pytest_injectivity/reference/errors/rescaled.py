"""Weights that were scaled for their quantization, with the factor taken back (AWQ, SmoothQuant).

Such a method divides the outputs of one part by a factor for each channel and multiplies the inputs of
the next parts by it, which changes no function: a norm and what reads it, values and the output
projection, ``up`` and ``down``. The factor is measured on the part before, and of channels whose inputs
in the parts after were scaled by another one it is theirs: the rest is damage. It is taken back where
that explains the weights: the errors of the group fall, and no part after has a larger one. A part may
have factors on both sides: of the norm before it, and of the part after it.

Rounding leaves an error relative to the numbers that were rounded, which are the scaled ones. So weights
are compared as the child has them, with the factor put on the parent's.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pytest_injectivity.core.layers import HEAD
from pytest_injectivity.core.shapes import Float, Float64
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.reference.errors.weight_error import WeightError, common_rows, tensor_error
from pytest_injectivity.reference.errors.wide import wide
from pytest_injectivity.reference.parts import Part, Role

_GROUPS: tuple[tuple[Role, tuple[Role, ...]], ...] = (
    ("attention norm", ("q", "k", "v")),
    ("mlp norm", ("gate", "up")),
    ("v", ("o",)),
    ("up", ("down",)),
)
# Attention and MLP may stand side by side behind one norm.
_SIDE_BY_SIDE: tuple[Role, tuple[Role, ...]] = ("attention norm", ("q", "k", "v", "gate", "up"))
_CHANGED = 0.1
_FALL = 0.8
_GROWTH = 1.2
# How alike the inputs of a channel are to the parent's, as a cosine, where they say what was taken back;
# a norm is held to what 16 bits explain, and must not be held to what few bits made of them: even less
# where parts that read it speak one by one, and not together.
_ALIKE, _ALIKE_FOR_NORMS, _ALIKE_EACH = 0.8, 0.9, 0.95
# How far two factors are apart that contradict each other, as a logarithm: at least, in units of the
# noise that rounding left in a channel's inputs, and at most.
_CONTRADICTS, _IN_NOISE, _CONTRADICTS_ANYWAY = math.log(1.05), 2.0, math.log(1.4)


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
        two = any(part.role == "mlp norm" for part in here)
        for role, roles in _GROUPS if two else (_SIDE_BY_SIDE, *_GROUPS):
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
        errors: of all tensors of these parts, as they are.
    """
    return with_scales(child, parent, parts, errors)[0]


def with_scales(
    child: Decoder, parent: Decoder, parts: Sequence[Part], errors: Sequence[WeightError]
) -> "tuple[tuple[WeightError, ...], Mapping[tuple[str, str], Scales]]":
    """The errors with the factors of scaled groups taken back, and what takes them back.

    Args:
        child: the model.
        parent: the model it was made from.
        parts: of the parent.
        errors: of all tensors of these parts, as they are.

    Returns:
        The errors; the scales of the child's parts that have any, by site and name.
    """
    found = {(one.site, one.part, one.tensor): one for one in errors}
    scales: dict[tuple[str, str], Scales] = {}
    for group in groups_of(parts):
        measured = _factor(group.before, child, parent, scales)
        factor = None if measured is None else _agreed(group, measured, child, parent, scales)
        if measured is None or factor is None or not bool(((factor - 1).abs() > _CHANGED).any()):
            continue
        tried = scales | dict(_with_factor(group, factor, parent, scales))
        # What is left of a norm is what its parts after do not take back.
        rest = measured / factor
        pairs = []
        for part in (group.before, *group.after):
            scale = tried[part.site, part.name]
            for one in _errors(part, scale, child, parent, rest):
                key = (one.site, one.part, one.tensor)
                if key in found:
                    pairs.append((found[key], replace(one, rescaled=group.before.name)))
        if pairs and _explains(group.before, pairs):
            scales = tried
            found |= {(one.site, one.part, one.tensor): one for _, one in pairs}
    return tuple(found.values()), scales


@dataclass(frozen=True, eq=False)
class Scales:
    """What the numbers of a part are multiplied by before they are compared.

    Attributes:
        outputs: a number for each output; None: as they are.
        inputs: likewise for each input.
    """

    outputs: Float64[Tensor, " outputs"] | None = None
    inputs: Float64[Tensor, " inputs"] | None = None

    def applied(self, tensor: Float[Tensor, "..."]) -> Float64[Tensor, "..."]:
        """The numbers of a tensor, scaled."""
        scaled = wide(tensor)
        if self.outputs is not None:
            scaled = (self.outputs[:, None] if tensor.ndim > 1 else self.outputs) * scaled
        return scaled if self.inputs is None or tensor.ndim == 1 else scaled * self.inputs

    @property
    def inverse(self) -> "Scales":
        """What the numbers of the parent's part are multiplied by to be the child's."""
        return Scales(*(None if one is None else 1.0 / one for one in (self.outputs, self.inputs)))


def _explains(before: Part, pairs: list[tuple[WeightError, WeightError]]) -> bool:
    """Whether errors fall in all, and those of the parts after do not grow.

    Where no part after has weights of its own (a head that shares the embeddings'), no factor can have
    been moved to it.
    """
    was, is_now = (sum(pair[side].error ** 2 for pair in pairs) for side in (0, 1))
    after = [pair for pair in pairs if pair[1].part != before.name]
    return (
        bool(after)
        and is_now < _FALL * was
        and all(new.error <= _GROWTH * old.error for old, new in after)
    )


def _factor(
    part: Part, child: Decoder, parent: Decoder, scales: Mapping[tuple[str, str], Scales]
) -> Float64[Tensor, " channels"] | None:
    """What the child's outputs of a part are multiplied by, a number for each channel."""
    tensors = [dict(part.tensors(one)) for one in (child, parent)]
    if all(one.ndim == 1 for one in tensors[1].values()):
        return _ratio_of_norms((part.of(child), tensors[0]), (part.of(parent), tensors[1]))
    own, exact = (wide(one["weight"]) for one in tensors)
    exact = scales.get((part.site, part.name), Scales()).inverse.applied(exact)
    norms = exact.square().sum(1)
    return torch.where(norms > 0, (own * exact).sum(1) / norms, 1.0)


def _agreed(
    group: Group,
    factor: Float64[Tensor, " channels"],
    child: Decoder,
    parent: Decoder,
    scales: Mapping[tuple[str, str], Scales],
) -> Float64[Tensor, " channels"]:
    """The factor, and where the inputs of the parts after contradict it the one that they take back.

    Channels whose inputs rounding left nothing of say nothing. Of several parts all have to contradict:
    else the part is wrong, and not what it reads.
    """
    # The outputs of values and of ``up`` may have a factor too, which is not known yet.
    plain = [part for part in group.after if part.role not in {role for role, _ in _GROUPS}]
    witnesses = [[one] for one in plain] if len(plain) > 1 else [list(group.after)]
    of_norm = "norm" in group.before.role + group.before.site
    alike = _ALIKE_EACH if len(plain) > 1 else _ALIKE_FOR_NORMS if of_norm else _ALIKE
    said, denied = (torch.zeros_like(factor, dtype=torch.bool) for _ in range(2))
    products, all_squares = (torch.zeros_like(factor) for _ in range(2))
    for readers in witnesses:
        product, own_squares, squares = _of_inputs(readers, factor, child, parent, scales)
        says = product > alike * (own_squares * squares).sqrt()
        noise = (own_squares * squares / product.square() - 1.0).clamp(min=0.0).sqrt()
        apart = (_IN_NOISE * noise).clamp(_CONTRADICTS, _CONTRADICTS_ANYWAY)
        # Of a lost sign there is no logarithm.
        denied |= says & ((factor * product / squares).log().abs() <= apart)
        said |= says
        products += torch.where(says, product, 0.0)
        all_squares += torch.where(says, squares, 0.0)
    agreed = torch.where(said & ~denied, all_squares / products, factor)
    # A channel that is gone has no factor, and is wrong.
    return torch.where(agreed == 0, 1.0, agreed)


def _of_inputs(
    readers: Sequence[Part],
    factor: Tensor,
    child: Decoder,
    parent: Decoder,
    scales: Mapping[tuple[str, str], Scales],
) -> tuple[Tensor, Tensor, Tensor]:
    """By channel the product of both models' inputs, and the squares of the child's and the parent's."""
    product, own_squares, squares = (torch.zeros_like(factor) for _ in range(3))
    for part in readers:
        own, exact = (dict(part.tensors(one)).get("weight") for one in (child, parent))
        if own is None or exact is None or exact.shape[1] % len(factor):
            continue
        expected = scales.get((part.site, part.name), Scales()).inverse.applied(exact)
        scaled, expected = common_rows(wide(own), expected)
        times = exact.shape[1] // len(factor)
        product += _of_channels((scaled * expected).sum(0), times, parent)
        own_squares += _of_channels(scaled.square().sum(0), times, parent)
        squares += _of_channels(expected.square().sum(0), times, parent)
    return product, own_squares, squares


def _with_factor(
    group: Group, factor: Tensor, parent: Decoder, scales: Mapping[tuple[str, str], Scales]
) -> Iterator[tuple[tuple[str, str], Scales]]:
    """The scales of a group's parts when a factor is taken back, after those that were before."""
    before = group.before.site, group.before.name
    yield before, replace(scales.get(before, Scales()), outputs=1.0 / factor)
    for part in group.after:
        key = part.site, part.name
        # Heads of keys and values may be shared by several heads of queries.
        inputs = _inputs(part, parent)
        times = inputs // len(factor)
        fits = times * len(factor) == inputs
        inputs_scale = _shared(factor, times, parent) if fits else None
        yield key, replace(scales.get(key, Scales()), inputs=inputs_scale)


def _inputs(part: Part, decoder: Decoder) -> int:
    return int(dict(part.tensors(decoder))["weight"].shape[1])


def _ratio_of_norms(
    own: tuple[nn.Module, Mapping[str, Tensor]], exact: tuple[nn.Module, Mapping[str, Tensor]]
) -> Float64[Tensor, " channels"] | None:
    """The ratio of two norms' gains, whatever their formula: an odd function of the input's sign.

    Args:
        own: a norm, and its numbers.
        exact: another one of its width.
    """
    width = max((one.numel() for one in exact[1].values()), default=0)
    if not width:
        return None
    drawn = torch.randn(1, width, generator=torch.Generator().manual_seed(0))

    def gain(norm: nn.Module, held: Mapping[str, Tensor]) -> Tensor:
        rows = drawn.to(next(iter(held.values())))
        plus, minus = (functional_call(norm, dict(held), (one,)) for one in (rows, -rows))
        return wide(plus - minus)[0]

    with torch.no_grad():
        ours, theirs = gain(*own), gain(*exact)
    return torch.where(theirs == 0, 1.0, ours / theirs)


def _errors(
    part: Part, scale: Scales, child: Decoder, parent: Decoder, rest: Tensor
) -> Iterator[WeightError]:
    for name, own, exact in _both(part, child, parent):
        if exact.ndim == 1 and scale.outputs is not None and name == "weight":
            # The factor is the ratio of two norms: nothing else is left of their difference.
            yield tensor_error(part, name, wide(exact) * rest, exact)
        else:
            yield tensor_error(part, name, own, scale.inverse.applied(exact))


def _both(part: Part, child: Decoder, parent: Decoder) -> Iterator[tuple[str, Tensor, Tensor]]:
    theirs = dict(part.tensors(parent))
    for name, own in part.tensors(child):
        if name in theirs and own.shape[1:] == theirs[name].shape[1:]:
            yield name, *common_rows(own, theirs[name])


def _of_channels(columns: Tensor, times: int, decoder: Decoder) -> Tensor:
    """The sums over the inputs that a channel is shared by: the reverse of `_shared`."""
    if times == 1:
        return columns
    return columns.view(_groups(decoder), times, -1).sum(1).flatten()


def _shared(factor: Tensor, times: int, decoder: Decoder) -> Tensor:
    if times == 1:
        return factor
    return factor.view(_groups(decoder), -1).repeat_interleave(times, dim=0).flatten()


def _groups(decoder: Decoder) -> int:
    config: Any = decoder.model.config.get_text_config()
    return int(getattr(config, "num_key_value_heads", None) or 1)
