"""The error of a child's weights: ``||W' - W|| / ||W||`` by tensor, row and group (SPEC section 7).

No prompt is needed. ``W'`` are the numbers that the child computes with, decoded from few bits, and
``W`` the parent's. The gain ``<W', W> / ||W||^2`` tells a wrong scale from rounding: it is 1 for weights
that were rounded, 1.5 for a scale that is 1.5 times too large, -1 for a lost sign.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from pytest_injectivity.core.layers import HEAD, layer_id
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.reference.errors.positions import root_of_quotient
from pytest_injectivity.reference.errors.reordered import Reordered, reordered
from pytest_injectivity.reference.errors.wide import wide
from pytest_injectivity.reference.parts import Part, parts_of

GROUP = 32
"""Inputs of a row that are looked at together: the finest group that formats scale by is as large."""

_MATRIX = 2
# The error from which on another order is looked for.
_UNLIKE = 0.5
_ROWS = 4096


@dataclass(frozen=True)
class Piece:
    """The row, or the group of inputs in a row, that lies farthest from its tensor's others.

    Attributes:
        row: its output; of stacked experts, counted through all of them.
        start: the first input of the group; None for a whole row.
        error: relative to the piece.
        gain: of the piece.
    """

    row: int
    start: int | None
    error: float
    gain: float


@dataclass(frozen=True)
class WeightError:
    """The error of one tensor.

    Attributes:
        site: ``layer01`` for the first block, as in `Part`.
        part: the part's name in its site.
        tensor: ``weight``, ``bias`` or another parameter's name.
        matrix: it has rows.
        error: ``||W' - W|| / ||W||``; NaN where a number is not finite.
        gain: ``<W', W> / ||W||^2``.
        median_row: the median of the rows' errors.
        row: the row with the largest error.
        heavy_row: the row with the largest error relative to its norm, or to the root mean square of
            the rows' norms where that is larger: small rows, of which rounding leaves little, do not
            hide it.
        group: the group with the largest error, in units of its tensor's root mean square.
        loud_group: of the groups of at least usual size the one with the largest gain: rounding may
            leave nothing of a group, and does not make it larger.
        turned_group: of the same groups the one with the smallest gain: rounding turns none over.
        rescaled: the part that takes back the factor of this tensor's scaling, such as ``ln_1``: the
            numbers are those with the factor taken back. Empty where there is none.
        only: whose tensor it is where one of the models has none of this name: it is compared with
            zeros, which a bias that is not there is. Empty where both have it.
        reordered: how near the parent's it is in another order of rows or columns; None where it is near
            as it is, or in no such order.
    """

    site: str
    part: str
    tensor: str
    matrix: bool
    error: float
    gain: float
    median_row: float
    row: Piece
    heavy_row: Piece
    group: Piece
    loud_group: Piece
    turned_group: Piece
    rescaled: str = ""
    only: Literal["", "model", "parent"] = ""
    reordered: Reordered | None = None

    @property
    def name(self) -> str:
        """The part, and the tensor where it is not the part's weight."""
        return self.part if self.tensor == "weight" else f"{self.part}.{self.tensor}"


def weight_errors(child: Decoder, parent: Decoder) -> tuple[WeightError, ...]:
    """The error of every tensor, in the order in which a token meets them.

    A tensor that one of the models lacks is compared with zeros. Parts of the child alone come last.
    A head that shares the embeddings' matrix in both models is left out, unless no final norm has
    weights: each layer has a tensor.

    Args:
        child: the model.
        parent: the model it was made from, of the same shape.

    Example:
        >>> from pytest_injectivity.testing import round_weights, tiny_decoder
        >>> parent, child = tiny_decoder("llama"), round_weights(tiny_decoder("llama"), 8)
        >>> errors = {(one.site, one.name): one.error for one in weight_errors(child, parent)}
        >>> errors["layer00", "embed_tokens"], 0 < errors["layer01", "self_attn.q_proj"] < 0.01
        (0.0, True)
    """
    parts = parts_of(parent)
    after = any(part.site == layer_id("norm") for part in parts)
    shared = all(_is_tied(one) for one in (child, parent))
    found: list[WeightError] = []
    for part in parts:
        if part.site == HEAD and shared and after:
            continue
        found += part_errors(part, child, parent)
    known = {(part.site, part.name) for part in parts}
    for part in parts_of(child):
        if (part.site, part.name) not in known:
            found += [_alone(part, name, own, "model") for name, own in part.tensors(child)]
    return tuple(found)


def part_errors(part: Part, child: Decoder, parent: Decoder) -> Iterator[WeightError]:
    """The errors of the tensors of a part, those that one model lacks last.

    Args:
        part: of the parent.
        child: the model.
        parent: the model it was made from.
    """
    ours, theirs = (dict(part.tensors(one)) for one in (child, parent))
    for name, own in ours.items():
        if name in theirs:
            yield tensor_error(part, name, *common_rows(own, theirs[name]))
    for name, own in ours.items():
        if name not in theirs:
            yield _alone(part, name, own, "model")
    for name, exact in theirs.items():
        if name not in ours:
            yield _alone(part, name, exact, "parent")


def common_rows(
    own: Float[Tensor, "..."], exact: Float[Tensor, "..."]
) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """The rows that both have: embeddings and heads may be padded (`unlike_part`)."""
    rows = min(len(own), len(exact)) if own.ndim and exact.ndim else None
    return (own, exact) if own.shape == exact.shape else (own[:rows], exact[:rows])


def _alone(
    part: Part, name: str, tensor: Float[Tensor, "..."], whose: Literal["model", "parent"]
) -> WeightError:
    """The error of a tensor that one model lacks: none where it is a bias of zeros."""
    zeros = torch.zeros_like(tensor)
    sides = (tensor, zeros) if whose == "model" else (zeros, tensor)
    found = replace(tensor_error(part, name, *sides), only=whose)
    if found.error == 0 and not name.endswith("bias"):
        return replace(found, error=math.inf, gain=math.inf)
    return found


def tensor_error(
    part: Part, name: str, own: Float[Tensor, "..."], exact: Float[Tensor, "..."]
) -> WeightError:
    """The error of one tensor.

    Args:
        part: whose tensor it is.
        name: of the tensor.
        own: the child's.
        exact: the parent's.
    """
    matrix = exact.ndim >= _MATRIX
    sums, row, group = _Sums(), Piece(0, None, -1.0, 1.0), Piece(0, 0, -1.0, 1.0)
    heavy, loud, turned = row, Piece(0, 0, 0.0, 1.0), Piece(0, 0, 0.0, 1.0)
    rows: list[Tensor] = []
    first = 0
    scale = _root_mean_square(exact)
    for ours, theirs in _pieces(own, exact):
        sums.add(ours, theirs)
        errors, gains = _errors(ours, theirs)
        rows.append(errors)
        row = _worse(row, _worst(errors, gains, first))
        usual = scale * math.sqrt(theirs.shape[1])
        heavy = _worse(heavy, _worst(_errors(ours, theirs, usual)[0], gains, first))
        group = _worse(group, _worst_group(ours, theirs, first, scale))
        least, most = _by_gain(ours, theirs, first, scale)
        loud = max(loud, most, key=lambda one: one.gain)
        turned = min(turned, least, key=lambda one: one.gain)
        first += len(ours)
    return WeightError(
        site=part.site,
        part=part.name,
        tensor=name,
        matrix=matrix,
        error=sums.error,
        gain=sums.gain,
        median_row=float(torch.cat(rows).median()),
        row=row,
        heavy_row=heavy,
        group=group,
        loud_group=loud,
        turned_group=turned,
        reordered=reordered(own, exact) if exact.ndim == _MATRIX and sums.error > _UNLIKE else None,
    )


@dataclass
class _Sums:
    """Sums over the pieces of a tensor."""

    apart: float = 0.0
    exact: float = 0.0
    product: float = 0.0

    def add(self, own: Tensor, exact: Tensor) -> None:
        self.apart += float((own - exact).square().sum())
        self.exact += float(exact.square().sum())
        self.product += float((own * exact).sum())

    @property
    def error(self) -> float:
        return root_of_quotient(math.nan if math.isinf(self.apart) else self.apart, self.exact)

    @property
    def gain(self) -> float:
        if math.isnan(self.product) or self.exact:
            return self.product / self.exact if self.exact else math.nan
        return 1.0 if self.apart == 0 else math.inf


def _is_tied(decoder: Decoder) -> bool:
    model: Any = decoder.model
    head: Tensor | None = getattr(model.get_output_embeddings(), "weight", None)
    weight: Tensor = decoder.parts.embeddings.weight
    return head is not None and head.data_ptr() == weight.data_ptr()


def _pieces(own: Tensor, exact: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows of both in float64, some at a time."""
    width = exact.shape[-1] if exact.ndim >= _MATRIX else exact.numel()
    sides = (torch.split(one.reshape(-1, width), _ROWS) for one in (own, exact))
    for ours, theirs in zip(*sides, strict=True):
        yield wide(ours), wide(theirs)


def _errors(own: Tensor, exact: Tensor, least: float = 0.0) -> tuple[Tensor, Tensor]:
    """The relative error and the gain of each row; a row of zeros that is kept has no error.

    Errors are relative to ``least`` where the row's norm is smaller.
    """
    apart, norms = (one.square().sum(-1) for one in (own - exact, exact))
    products = (own * exact).sum(-1)
    errors = torch.where(apart == 0, 0.0, (apart / norms.clamp(min=least**2)).sqrt())
    gains = torch.where(norms > 0, products / norms, torch.where(apart == 0, 1.0, math.inf))
    return errors, gains


def _worst(errors: Tensor, gains: Tensor, first: int) -> Piece:
    at = int(torch.where(errors.isnan(), math.inf, errors).argmax())
    return Piece(first + at, None, float(errors[at]), float(gains[at]))


def _worst_group(own: Tensor, exact: Tensor, first: int, scale: float) -> Piece:
    """The group whose error is largest, in units of the tensor's root mean square."""
    ours, theirs = _in_groups(own, exact)
    apart = (ours - theirs).square().mean(-1).sqrt()
    errors = torch.where(apart == 0, 0.0, apart / scale)
    flat = torch.where(errors.isnan(), math.inf, errors).flatten()
    at = int(flat.argmax())
    row, group = divmod(at, errors.shape[1])
    _, gains = _errors(ours[row], theirs[row])
    return Piece(
        first + row, group * ours.shape[2], float(errors.flatten()[at]), float(gains[group])
    )


def _by_gain(own: Tensor, exact: Tensor, first: int, scale: float) -> tuple[Piece, Piece]:
    """The groups with the smallest and the largest gain, of those of at least usual size."""
    ours, theirs = _in_groups(own, exact)
    squares = theirs.square().sum(-1)
    usual = squares >= ours.shape[2] * scale**2
    gains = (ours * theirs).sum(-1) / squares
    # A gain of 1 says nothing.
    flat = torch.where(usual & ~gains.isnan(), gains, 1.0).flatten()

    def piece(at: int) -> Piece:
        row, group = divmod(at, gains.shape[1])
        errors, _ = _errors(ours[row], theirs[row])
        return Piece(first + row, group * ours.shape[2], float(errors[group]), float(flat[at]))

    return piece(int(flat.argmin())), piece(int(flat.argmax()))


def _in_groups(own: Tensor, exact: Tensor) -> list[Tensor]:
    """Rows of both, each in groups of inputs."""
    width = exact.shape[1]
    size = GROUP if width % GROUP == 0 else width
    return [one.reshape(len(one), -1, size) for one in (own, exact)]


def _worse(one: Piece, other: Piece) -> Piece:
    return other if math.isnan(other.error) or other.error > one.error else one


def _root_mean_square(exact: Tensor) -> float:
    squares = sum(float(theirs.square().sum()) for _, theirs in _pieces(exact, exact))
    return math.sqrt(squares / exact.numel()) if exact.numel() else 0.0
