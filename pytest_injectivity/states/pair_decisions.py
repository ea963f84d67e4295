"""Decides by evaluation whether two prompts near the resolution can be told apart (SPEC section 2).

Both prompts are evaluated in the eight ways of `last_states`, each prompt once, however many pairs it is
in. ``D`` is the smallest distance between an evaluation of one and an evaluation of the other, ``S`` the
largest distance of either prompt to itself, and at least one rounding of its state. Equal bits in one
shape are a collision. Else the pair is resolved where ``D > S``, in the Euclidean or in the scaled
distance, and unresolved where it is in neither.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer, depth
from pytest_injectivity.core.shapes import Float, Float64
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.last_states import evaluate_last
from pytest_injectivity.states.resolution import LayerResolution
from pytest_injectivity.states.scaled import Scale

Pair = tuple[int, int]

# Pairs compared at once, and prompts evaluated at once.
_TOGETHER = 256
_EVALUATED_AT_ONCE = 256


class Kind(StrEnum):
    """What evaluation says of a pair."""

    COLLISION = "collision"
    """Equal bits in one shape."""
    UNRESOLVED = "unresolved"
    """In neither distance farther apart than the two prompts are from themselves."""
    RESOLVED = "resolved"
    """Farther apart, in at least one of the two distances."""


@dataclass(frozen=True)
class Decision:
    """The evaluations of one pair, summed up.

    Attributes:
        kind: what follows from them.
        apart: ``D``, the smallest distance between evaluations of the two prompts, Euclidean.
        itself: ``S``, the largest distance of either prompt to itself, or one rounding.
        scaled_apart, scaled_itself: the same in the scaled distance.
    """

    kind: Kind
    apart: float
    itself: float
    scaled_apart: float
    scaled_itself: float

    @property
    def by(self) -> str:
        """The distance in which the pair is resolved; empty where it is not."""
        if self.kind is not Kind.RESOLVED:
            return ""
        return "Euclidean" if self.apart > self.itself else "scaled"


def decide_pairs(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    pairs: Mapping[Layer, Sequence[Pair]],
    resolutions: Mapping[Layer, LayerResolution],
    *,
    captured: Mapping[Layer, Mapping[int, Float[Tensor, " hidden"]]] | None = None,
) -> dict[Layer, list[Decision]]:
    """Decides the pairs of each layer; all layers share the passes.

    Args:
        decoder: the model.
        prompts: token ids.
        pairs: by layer, indexes into ``prompts``.
        resolutions: of the same layers; prompts of one token use those of position 0.
        captured: by layer the states of these prompts as captured, by index; None: they are not known.

    Returns:
        By layer, the decision of each pair, in the order given.
    """
    states: dict[Layer, dict[int, Tensor]] = {layer: {} for layer in pairs}
    for some, longest, layers in _together(pairs, prompts):
        known: dict[Layer, Tensor] | None = None
        if captured:
            known = {layer: torch.stack([captured[layer][one] for one in some]) for layer in layers}
        chosen = [prompts[prompt] for prompt in some]
        found = evaluate_last(decoder, chosen, layers, longest=longest, captured=known)
        for layer, rows in found.items():
            states[layer] |= dict(zip(some, rows, strict=True))
    return {
        layer: _decide_layer(states[layer], some, prompts, resolutions[layer]) if some else []
        for layer, some in pairs.items()
    }


def _decide_layer(
    states: Mapping[int, Float[Tensor, "ways hidden"]],
    pairs: Sequence[Pair],
    prompts: Sequence[Sequence[int]],
    resolution: LayerResolution,
) -> list[Decision]:
    """The decisions of one layer's pairs: those of one scale together."""
    last = [sorted(min(len(prompts[one]) - 1, 1) for one in pair) for pair in pairs]
    found: dict[int, Decision] = {}
    for positions in ([0, 0], [0, 1], [1, 1]):
        if at := [row for row, of in enumerate(last) if of == positions]:
            # Two prompts have the coarser resolution of each coordinate.
            one, other = (resolution.of(position).scale for position in positions)
            some = [pairs[row] for row in at]
            found |= dict(zip(at, decide(states, some, one.joined(other)), strict=True))
    return [found[row] for row in range(len(pairs))]


def _together(
    pairs: Mapping[Layer, Sequence[Pair]], prompts: Sequence[Sequence[int]]
) -> Iterator[tuple[list[int], list[int], list[Layer]]]:
    """Which prompts are evaluated together, the tokens of the longest of each one's shape, the layers.

    Prompts that are compared take the shape of the longest that pairs connect them with. No pass goes
    deeper than its prompts have to.
    """
    wanted: dict[int, list[Layer]] = {}
    for layer, some in pairs.items():
        for prompt in sorted({prompt for pair in some for prompt in pair}):
            wanted.setdefault(prompt, []).append(layer)
    groups: dict[Layer, list[int]] = {}
    longest: dict[int, int] = {}
    for members in _components(sorted({pair for some in pairs.values() for pair in some})):
        most = max(len(prompts[prompt]) for prompt in members)
        for prompt in sorted(members):
            longest[prompt] = most
            groups.setdefault(max(wanted[prompt], key=depth), []).append(prompt)
    for group in groups.values():
        for start in range(0, len(group), _EVALUATED_AT_ONCE):
            together = group[start : start + _EVALUATED_AT_ONCE]
            layers = [layer for layer in pairs if any(layer in wanted[one] for one in together)]
            yield together, [longest[prompt] for prompt in together], layers


def decide(
    states: Mapping[int, Float[Tensor, "ways hidden"]], pairs: Sequence[Pair], scale: Scale
) -> list[Decision]:
    """Decides pairs of evaluated prompts.

    Args:
        states: of each prompt, by its index, its state in each way, in the model's dtype.
        pairs: of these prompts.
        scale: the resolution of each coordinate.

    Example:
        >>> import numpy as np
        >>> states = {0: torch.zeros(2, 3), 1: torch.ones(2, 3)}
        >>> states[2] = torch.stack([states[0][0], states[1][0]])
        >>> [str(one.kind) for one in decide(states, [(0, 1), (0, 2)], Scale(np.ones(3)))]
        ['resolved', 'collision']
    """
    own = {
        prompt: _itself(states[prompt], scale) for prompt in {one for pair in pairs for one in pair}
    }
    found: list[Decision] = []
    for start in range(0, len(pairs), _TOGETHER):
        some = pairs[start : start + _TOGETHER]
        left, right = (torch.stack([states[pair[side]] for pair in some]) for side in (0, 1))
        equal = (left == right).all(dim=2).any(dim=1).tolist()
        apart = _between(left.double(), right.double()).amin(dim=(1, 2)).tolist()
        scaled = _between(scale.divided(left), scale.divided(right)).amin(dim=(1, 2)).tolist()
        for pair, same, *distances in zip(some, equal, apart, scaled, strict=True):
            itself = [max(sides) for sides in zip(*(own[one] for one in pair), strict=True)]
            if same:
                kind = Kind.COLLISION
            elif any(far > near for far, near in zip(distances, itself, strict=True)):
                kind = Kind.RESOLVED
            else:
                kind = Kind.UNRESOLVED
            found.append(Decision(kind, distances[0], itself[0], distances[1], itself[1]))
    return found


def _itself(states: Float[Tensor, "ways hidden"], scale: Scale) -> tuple[float, float]:
    """How far evaluations of one prompt are apart, and at least one rounding, in both distances."""
    unit = torch.finfo(states.dtype).eps / 2
    euclidean, scaled = (
        torch.maximum(
            _between(rows, rows).max(), unit * torch.linalg.vector_norm(rows, dim=1).max()
        )
        for rows in (states.double(), scale.divided(states))
    )
    return float(euclidean), float(scaled)


def _between(
    left: Float64[Tensor, "*some ways hidden"], right: Float64[Tensor, "*some ways hidden"]
) -> Float64[Tensor, "*some ways ways"]:
    return torch.cdist(left, right, compute_mode="donot_use_mm_for_euclid_dist")


def _components(pairs: Iterable[Pair]) -> list[set[int]]:
    """The prompts that pairs connect, directly or through others."""
    of: dict[int, set[int]] = {}
    for left, right in pairs:
        one, other = of.setdefault(left, {left}), of.setdefault(right, {right})
        if one is not other:
            small, large = sorted((one, other), key=len)
            large |= small
            for prompt in small:
                of[prompt] = large
    return list({id(members): members for members in of.values()}.values())
