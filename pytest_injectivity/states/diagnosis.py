"""Tells collisions due to the architecture from those due to the checkpoint (SPEC section 3).

See [VS] theorem 2.7. Each pair is evaluated in float64 under the checkpoint's own weights, and then
under random redraws of every parameter tensor. All pairs share the draws: one redrawn model runs all
prompts at all layers, and it is the only model held beside the decoder. A pair that a draw separates
needs no more.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.float64 import release
from pytest_injectivity.models.redraw import redraw
from pytest_injectivity.states.capture import capture

DRAWS = 5
"""Fresh draws of the weights before a pair is called equal in all of them."""

SEPARATED = 1e-8
"""Farther apart than this share of the norm, no rounding of float64 explains a distance."""

EQUAL = 1e-12
"""Nearer than this share of the norm, a distance is the rounding of float64."""

Pair = tuple[int, int]
Progress = Callable[[int], None]


class Outcome(StrEnum):
    """Whether a collision is the checkpoint's (accidental) or the architecture's (structural)."""

    ACCIDENTAL = "accidental"
    STRUCTURAL = "structural"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Diagnosis:
    """The distances of a colliding pair at one layer, under the checkpoint's weights and redraws.

    Attributes:
        distance: in true float64 under the checkpoint's own weights, in the states' units.
        norm: the larger of the pair's norms there.
        separations: under each fresh draw, the distance as a share of the larger norm; NaN where the
            redrawn states are not finite.
    """

    distance: float
    norm: float
    separations: tuple[float, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """Separated in one draw, equal in all five, or neither."""
        if self.separated_by:
            return Outcome.ACCIDENTAL
        if len(self.separations) == DRAWS and self.separation <= EQUAL:
            return Outcome.STRUCTURAL
        return Outcome.UNDECIDED

    @property
    def separated_by(self) -> int:
        """The first draw that separates the pair, counted from 1; 0 where none does."""
        return next((at for at, x in enumerate(self.separations, 1) if x > SEPARATED), 0)

    @property
    def separation(self) -> float:
        """The share of the norm in the draw that separates, or the largest where none does."""
        if at := self.separated_by:
            return self.separations[at - 1]
        # numpy's maximum lets a NaN through: a draw that says nothing is no proof of equality.
        return float(np.max(self.separations, initial=0.0))

    @property
    def settled(self) -> bool:
        """Whether more draws would change nothing."""
        return bool(self.separated_by) or len(self.separations) == DRAWS

    @property
    def equal_in_float64(self) -> bool:
        """Whether float64 does not tell the pair apart either, under the checkpoint's own weights."""
        return self.distance <= EQUAL * self.norm

    def drawn(self, separation: float) -> "Diagnosis":
        """This diagnosis after one more draw."""
        return Diagnosis(self.distance, self.norm, (*self.separations, separation))


def diagnose(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    pairs: Iterable[Pair],
    layers: Sequence[Layer],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[tuple[Layer, Pair], Diagnosis]:
    """Diagnoses every pair at every layer.

    Args:
        decoder: the model whose states collide.
        prompts: token ids.
        pairs: indexes into ``prompts``.
        layers: which layers.
        seed: of the draws.
        progress: told how many of the ``1 + DRAWS`` evaluations are done.

    Raises:
        ModelError: the weights cannot be drawn afresh (quantized layers).
    """
    open_pairs = list(dict.fromkeys(pairs))
    found: dict[tuple[Layer, Pair], Diagnosis] = {}
    if not open_pairs:
        return found
    copy = decoder.as_float64()
    generator = torch.Generator(copy.device).manual_seed(seed)
    for draw in range(1 + DRAWS):
        if draw:
            redraw(copy, generator)
        for key, (distance, norm) in distances_of_pairs(copy, prompts, open_pairs, layers).items():
            found[key] = (
                found[key].drawn(_share(distance, norm)) if draw else Diagnosis(distance, norm)
            )
        open_pairs = [
            pair for pair in open_pairs if not all(found[layer, pair].settled for layer in layers)
        ]
        if progress is not None:
            progress(draw + 1)
        if not open_pairs:
            break
    release(copy.model)
    return found


def distances_of_pairs(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    pairs: Sequence[Pair],
    layers: Sequence[Layer],
) -> dict[tuple[Layer, Pair], tuple[float, float]]:
    """Distance and larger norm of each pair's last-token states, the prompts in one capture."""
    ordered = sorted({prompt for pair in pairs for prompt in pair})
    at = {prompt: row for row, prompt in enumerate(ordered)}
    captured = capture(decoder, [prompts[prompt] for prompt in ordered], layers)
    return {
        (layer, (left, right)): _distance(
            captured.rows[layer][at[left]], captured.rows[layer][at[right]]
        )
        for layer in layers
        for left, right in pairs
    }


def _distance(
    left: Float[Tensor, " hidden"], right: Float[Tensor, " hidden"]
) -> tuple[float, float]:
    norm = torch.maximum(left.norm(), right.norm())
    return float((left - right).norm()), float(norm)


def _share(distance: float, norm: float) -> float:
    """Of the norm; equal rows are at 0 whatever their norm is."""
    if distance == 0:
        return 0.0
    return distance / norm if norm else math.nan
