"""The basis of a model's states, seen from its parent, layer by layer; kept in the store."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.number_keys import NumberKey
from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.shapes import Float64
from pytest_injectivity.reference.basis import (
    EXPLAINS,
    Basis,
    BasisKind,
    Rotation,
    is_rotation,
)

if TYPE_CHECKING:
    from torch import Tensor

    from pytest_injectivity.audit.measurements.measurements import Measurements
    from pytest_injectivity.models.decoder import Decoder
    from pytest_injectivity.reference.errors.turn import Turn

T = TypeVar("T")


@runtime_checkable
class Compared(Protocol):
    """What `Against` has that the basis is measured by."""

    child: "Measurements"
    parent: "Measurements"

    def remember(self, key: NumberKey, compute: Callable[[], T]) -> T:
        """A number of the model and its parent, kept in the store."""


@dataclass(frozen=True)
class RotationKey(NumberKey):
    """Names the orthogonal map between two models' embeddings."""


@dataclass(frozen=True)
class BasisKey(NumberKey):
    """Names what is known of the basis of a layer, without the matrix.

    Attributes:
        layer: the layer.
    """

    layer: Layer


@dataclass(frozen=True)
class FinalGainKey(NumberKey):
    """Names the gain of the parent's final norm."""


def basis_of(against: Compared, layer: Layer) -> Basis:
    """The basis of a layer's states, seen from the parent.

    States that lie near the parent's are in its basis, and nothing more is measured. Else a rotation is
    fitted on the embeddings (`fit_rotation`) and judged on the prompts' states at the layer. After the
    final norm the parent's gain follows the rotation, because a rotation can only be made where gains
    were folded into the head.

    Args:
        against: the model and its parent.
        layer: the layer; all rows of both are finite.
    """
    found = against.remember(BasisKey(layer), lambda: _judged(against, layer))
    if found.kind is not BasisKind.ROTATED:
        return found
    return replace(found, matrix=_matrix(against, layer, _rotation(against)))


def turn_of(against: Compared) -> "Turn | None":
    """The maps from the model's states to its parent's; None where its embeddings are not rotated."""
    rotation = _rotation(against)
    if rotation.matrix is None:
        return None
    from pytest_injectivity.reference.errors.turn import Turn

    return Turn(rotation.matrix, _matrix(against, "norm", rotation))


def _judged(against: Compared, layer: Layer) -> Basis:
    import torch

    from pytest_injectivity.reference.rotation import median_distance

    own, parents = (one.states(layer) for one in (against.child, against.parent))
    before = median_distance(own, parents.to(own.device))
    if not before > EXPLAINS:
        return Basis(BasisKind.IDENTITY, before)
    rotation = _rotation(against)
    if math.isnan(rotation.after):
        words = (
            f"not the parent's states (median {show(before)} of its norm); whether in another basis is"
            f" not known: {rotation.tokens} tokens are too few to fit a rotation of width"
            f" {rotation.width}"
        )
        return Basis(BasisKind.UNKNOWN, before, words=words)
    if rotation.matrix is None:
        words = (
            f"neither the parent's states (median {show(before)} of its norm) nor a rotation of them:"
            f" one brings the embeddings from {show(rotation.before)} to {show(rotation.after)}"
        )
        return Basis(BasisKind.UNKNOWN, before, words=words)
    mapped = own.cpu().double() @ torch.from_numpy(_matrix(against, layer, rotation))
    after = median_distance(mapped, parents.cpu())
    numbers = (
        f"{show(after)} of the parent's norm with the rotation, {show(before)} without (medians)"
    )
    if not is_rotation(before, after):
        words = f"neither the parent's states nor a rotation of them: {numbers}"
        return Basis(BasisKind.UNKNOWN, before, after, words)
    words = f"states are the parent's in another basis: rotated; {numbers}"
    return Basis(BasisKind.ROTATED, before, after, words)


def _rotation(against: Compared) -> Rotation:
    return against.remember(RotationKey(), lambda: _fitted(against))


def _fitted(against: Compared) -> Rotation:
    from pytest_injectivity.reference.rotation import fit_rotation

    # One table is copied before the other model is loaded, which may not fit beside.
    own = _table(against.child.target.decoder)
    return fit_rotation(own, _table(against.parent.target.decoder))


def _table(decoder: "Decoder") -> "Tensor":
    return decoder.embedding_matrix().cpu()


def _matrix(
    against: Compared, layer: Layer, rotation: Rotation
) -> Float64[np.ndarray, "width width"]:
    """The rotation; after the final norm with the parent's gain behind it."""
    assert rotation.matrix is not None  # noqa: S101 - only asked where there is one
    if layer != "norm":
        return rotation.matrix
    gain = against.remember(FinalGainKey(), lambda: _final_gain(against.parent.target.decoder))
    turned: Float64[np.ndarray, "width width"] = rotation.matrix * gain
    return turned


def _final_gain(decoder: "Decoder") -> Float64[np.ndarray, " width"]:
    """What the final norm multiplies each coordinate by; ones where it does not."""
    import torch

    norm: Any = decoder.parts.norm
    if norm is None:
        return np.ones(decoder.hidden_size)
    # This row has a mean of 0 and a root mean square of 1, which a norm leaves to its gain and bias.
    probe = torch.ones(1, decoder.hidden_size, dtype=decoder.dtype, device=decoder.device)
    probe[:, 1::2] = -1.0
    with torch.no_grad():
        gain: Tensor = (norm(probe) - norm(-probe)) / 2.0 * probe
    return np.asarray(gain[0].cpu().double().numpy())
