"""How much one step of a model can contract: the Jacobian of the one-step map (SPEC section 11).

Behind a prefix the state of the next token is a function of its embedding row. The smallest singular
value of its Jacobian says how much two rows that are near each other may come together at most, the
largest how far they may be drawn apart. Both are local: they say nothing of rows far away.

Each coordinate of the state has a row of the batch of its own, so that one backward pass gives the whole
Jacobian, and a second one over the same graph what rounding may make of it (`BackwardNoise`). Source:
[VS], local co-Lipschitz constants. Cost: as many rows as the width, a pass and two backward passes a
layer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer, depth, layer_id
from pytest_injectivity.core.shapes import Float, Int64
from pytest_injectivity.errors import ModelError, OptionError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.theory.backward_noise import BackwardNoise

# Also the tokens of one pass where each row runs the prefix again: a backward pass needs them all.
_ROWS = 128
# Of the prefix's keys and values: each row of a pass has its own, and a backward pass needs them.
_MOST_BYTES = 2**30


class StepJacobian(NamedTuple):
    """The Jacobian of one step, states by embedding row.

    Attributes:
        matrix: its numbers.
        moved: the same where every gradient inside the blocks is moved by about what rounding may
            move it.
    """

    matrix: Float[Tensor, "hidden embedding"]
    moved: Float[Tensor, "hidden embedding"]


@dataclass(frozen=True)
class StepScales:
    """The extreme singular values of one step's Jacobian, states by embedding row.

    Attributes:
        layer: of the states.
        position: of the token.
        smallest: ``sigma_min``; 0 where directions of the row are lost.
        largest: ``sigma_max``.
        floor: what rounding may make of a singular value of 0, as `of` estimates it: a smaller
            ``smallest`` is not known.

    The three are NaN where the Jacobian is not finite.

    Example:
        >>> StepScales(1, 0, 1e-3, 10.0, 1e-14).ratio, StepScales(1, 0, 1e-15, 10.0, 1e-14).known
        (0.0001, False)
    """

    layer: Layer
    position: int
    smallest: float
    largest: float
    floor: float

    @classmethod
    def of(cls, layer: Layer, position: int, jacobian: StepJacobian) -> "StepScales":
        """Those of a Jacobian.

        The floor is the larger of two: the rounding of one product of matrices, ``eps sqrt(width)`` of
        the largest value, and the spectral norm of what noise of that size inside the blocks makes of
        the Jacobian, by which no singular value moves farther (Weyl). It is an estimate, not a bound.
        """
        matrix, moved = jacobian
        if not (matrix.isfinite().all() and moved.isfinite().all()):
            return cls(layer, position, math.nan, math.nan, math.nan)
        values = torch.linalg.svdvals(matrix.double())
        largest = float(values[0])
        inside = float(torch.linalg.matrix_norm(moved.double() - matrix.double(), 2))
        # The rounding of a product of matrices, in its norm (Higham, section 3.5).
        product = torch.finfo(matrix.dtype).eps * max(matrix.shape) ** 0.5 * largest
        return cls(layer, position, float(values[-1]), largest, max(product, inside))

    @property
    def known(self) -> bool:
        """Whether the smallest value is more than what rounding makes of 0."""
        return self.smallest >= self.floor

    @property
    def ratio(self) -> float:
        """The smallest over the largest, the reciprocal of the condition number; 0 where both are 0."""
        return self.smallest / self.largest if self.largest else 0.0

    @property
    def floor_ratio(self) -> float:
        """The floor over the largest value."""
        return self.floor / self.largest if self.largest else 0.0


def step_scales(
    decoder: Decoder,
    ids: Int64[Tensor, " length"],
    layers: Sequence[Layer],
    positions: Sequence[int] | None = None,
    *,
    rows: int = _ROWS,
) -> list[StepScales]:
    """The extreme singular values of the one-step maps along a prompt.

    Args:
        decoder: the model; singular values are as exact as the dtype it computes in.
        ids: the prompt.
        layers: whose states.
        positions: from 0 on; None: every one.
        rows: rows of one pass; changes no number but by rounding.

    Returns:
        Position by position, in the order of the layers.

    Raises:
        LayerError: the model has no such layer.
        ModelError: a Jacobian is not finite, or the blocks stay on disk.
        OptionError: the prompt has no such position.
        PromptError: the prompt exceeds the context, or has other ids than the model.

    Example:
        >>> from pytest_injectivity.testing import tiny_decoder
        >>> found = step_scales(tiny_decoder("gpt2").as_float64(), torch.tensor([5, 6, 7]), [0, 2], [2])
        >>> round(found[0].smallest, 12), found[1].smallest < found[1].largest
        (1.0, True)
    """
    found = []
    asked = range(len(ids)) if positions is None else positions
    if wrong := [one for one in asked if not 0 <= one < len(ids)]:
        raise OptionError(f"position {wrong[0]} of {len(ids)} tokens: give 0 to {len(ids) - 1}")
    for position in asked:
        jacobians = step_jacobians(decoder, ids[: position + 1], layers, rows=rows)
        for layer, jacobian in jacobians.items():
            scales = StepScales.of(layer, position, jacobian)
            if math.isnan(scales.largest):
                raise ModelError(
                    f"{decoder.source}: the Jacobian at {layer_id(layer)}, position {position} is not"
                    " finite: audit the model first (assert_no_collisions)"
                )
            found.append(scales)
    return found


def step_jacobians(
    decoder: Decoder,
    ids: Int64[Tensor, " length"],
    layers: Sequence[Layer],
    *,
    rows: int = _ROWS,
    most_bytes: int = _MOST_BYTES,
) -> dict[Layer, StepJacobian]:
    """The Jacobian of the last token's states by its embedding row, at some layers.

    Args:
        decoder: the model.
        ids: the prompt, at least one token.
        layers: whose states.
        rows: rows of one pass; so many tokens where each row runs the prefix again. What is drawn
            for ``moved`` depends on it.
        most_bytes: of the prefix's keys and values, which each row has of its own: fewer rows are run
            at once where so many hold more.

    Returns:
        By layer the Jacobian, and as rounding inside the blocks may have moved it.

    Raises:
        LayerError: as for `step_scales`.
        PromptError: as for `step_scales`.
    """
    ids = ids.to(decoder.device)
    prefix = decoder.prefix(ids[:-1], max(layers, key=depth))
    row = decoder.embedding_matrix()[ids[-1]]
    rows = max(1, min(rows, most_bytes // max(prefix.nbytes, 1)))
    if prefix.cache is None:
        rows = max(1, rows // len(ids))
    noise = BackwardNoise(decoder)
    parts: dict[Layer, list[StepJacobian]] = {layer: [] for layer in layers}
    for some in torch.split(torch.arange(decoder.hidden_size), rows):
        repeated = row.expand(len(some), 1, -1).clone().requires_grad_(True)  # noqa: FBT003 - torch's own
        with torch.enable_grad(), noise.watched():
            states = decoder.states_from_embeddings(repeated, layers, prefix=prefix)
        for number, layer in enumerate(layers, 1):
            # Each row of the batch gives the gradient of one coordinate of its own state.
            own = states[layer][torch.arange(len(some)), 0, some.to(decoder.device)].sum()
            (plain,) = torch.autograd.grad(own, repeated, retain_graph=True)
            with noise.on(decoder.device, int(some[0])):
                more = number < len(layers)
                (moved,) = torch.autograd.grad(own, repeated, retain_graph=more)
            parts[layer].append(StepJacobian(plain[:, 0], moved[:, 0]))
    return {
        layer: StepJacobian(*(torch.cat(side) for side in zip(*found, strict=True)))
        for layer, found in parts.items()
    }
