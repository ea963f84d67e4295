"""Measures the noise floor of a layer: how far its states are reproducible (SPEC section 2).

The same prompt evaluated alone, in a batch and through a cached prefix gives states that differ in their
last places, and all of them differ from what the same weights give in float64. The floor is the largest
such distance over a sample of prompts, and at least a bound of the rounding of one state. It is an
estimate from a sample: other prompts may differ by more, so a distance above the floor is not proved to
be real, and a distance below it says nothing. Position 0 has a floor of its own, because attention sinks
make states there huge, and their rounding with them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer, depth
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.batches import plan_batches

# Prompts evaluated at once, at all positions and layers: this bounds the memory.
_TOGETHER = 4


@dataclass(frozen=True)
class Floor:
    """The noise floor at one group of positions, in its parts and in the states' own units.

    Attributes:
        reproduction: the largest distance between evaluations alone, in a batch and with a cached
            prefix. It can be exactly 0, and then says nothing about another machine.
        error: the largest distance to the states in float64; NaN where it could not be measured.
        rounding: ``4 u sqrt(d) max|h|``, u the unit round-off of the states' dtype.
    """

    reproduction: float = 0.0
    error: float = 0.0
    rounding: float = 0.0

    @property
    def value(self) -> float:
        """``nu_l``: the largest of what was measured; NaN where states are not finite."""
        measured = [] if math.isnan(self.error) else [self.error]
        return float(np.max([self.reproduction, self.rounding, *measured]))

    def joined(self, other: "Floor") -> "Floor":
        """The larger value of each part; NaN where either is NaN."""
        return Floor(*np.maximum(astuple(self), astuple(other)).tolist())


@dataclass(frozen=True)
class NoiseFloor:
    """The noise floor of a layer over a sample of prompts.

    Attributes:
        first: at position 0.
        later: at every other position; at position 0 where no prompt has another.
        prompts: size of the sample.
    """

    first: Floor
    later: Floor
    prompts: int

    @property
    def value(self) -> float:
        """``nu_l`` of states at positions from 1 on."""
        return self.later.value

    def at(self, position: int) -> float:
        """``nu_l`` at a position."""
        return (self.later if position else self.first).value


def measure_noise(
    decoder: Decoder,
    exact: Decoder | None,
    prompts: Sequence[Sequence[int]],
    layers: Sequence[Layer],
) -> dict[Layer, NoiseFloor]:
    """Measures the noise floor at each layer.

    Args:
        decoder: the model audited.
        exact: the same weights in float64; None where there is no such copy.
        prompts: the sample: token ids, at least one prompt.
        layers: the layers measured.
    """
    first = dict.fromkeys(layers, Floor(error=math.nan if exact is None else 0.0))
    later = dict(first)
    for start in range(0, len(prompts), _TOGETHER):
        for layer, differences in _evaluate(
            decoder, exact, prompts[start : start + _TOGETHER], tuple(layers)
        ):
            first[layer] = first[layer].joined(_floor(differences, slice(0, 1)))
            later[layer] = later[layer].joined(_floor(differences, slice(1, None)))
    if max(map(len, prompts)) == 1:
        later = first
    return {layer: NoiseFloor(first[layer], later[layer], len(prompts)) for layer in layers}


@dataclass(frozen=True)
class _Evaluations:
    """The states of one prompt at one layer, computed in several ways."""

    alone: Float[Tensor, "length hidden"]
    batched: Float[Tensor, "length hidden"]
    continued: Float[Tensor, "length hidden"]
    exact: Float[Tensor, "length hidden"] | None


def _floor(states: _Evaluations, positions: slice) -> Floor:
    alone = states.alone[positions]
    if not len(alone):
        return Floor()
    ways = [alone, states.batched[positions], states.continued[positions]]
    unit = torch.finfo(alone.dtype).eps / 2
    rounding = 4 * unit * alone.shape[1] ** 0.5 * float(alone.abs().max())
    reproduction = np.max([_largest(one, other) for one, other in combinations(ways, 2)])
    if states.exact is None:
        return Floor(float(reproduction), math.nan, rounding)
    error = np.max([_largest(way, states.exact[positions]) for way in ways])
    return Floor(float(reproduction), float(error), rounding)


def _largest(
    states: Float[Tensor, "positions hidden"], others: Float[Tensor, "positions hidden"]
) -> float:
    return float(torch.linalg.vector_norm(states.double() - others.double(), dim=1).max())


def _evaluate(
    decoder: Decoder,
    exact: Decoder | None,
    prompts: Sequence[Sequence[int]],
    layers: tuple[Layer, ...],
) -> list[tuple[Layer, _Evaluations]]:
    in_batch = _in_batches(decoder, prompts, layers)
    found = []
    for at, prompt in enumerate(prompts):
        ids = torch.tensor([list(prompt)])
        alone = decoder.states(ids, layers)
        continued = _continued(decoder, ids, layers, alone)
        reference = None if exact is None else exact.states(ids, layers)
        found += [
            (
                layer,
                _Evaluations(
                    alone[layer][0],
                    in_batch[at][layer],
                    continued[layer][0],
                    None if reference is None else reference[layer][0],
                ),
            )
            for layer in layers
        ]
    return found


def _in_batches(
    decoder: Decoder, prompts: Sequence[Sequence[int]], layers: tuple[Layer, ...]
) -> dict[int, Mapping[Layer, Float[Tensor, "length hidden"]]]:
    """The states of every prompt, padded in a batch with others."""
    longest = max(len(prompt) for prompt in prompts)
    found: dict[int, Mapping[Layer, Tensor]] = {}
    for batch in plan_batches(
        [longest] * len(prompts), batch_tokens=_TOGETHER * 2 * longest, context=decoder.context
    ):
        states = decoder.states(batch.ids(prompts), layers)
        for at, row in enumerate(batch.rows):
            length = len(prompts[row])
            found[row] = {layer: states[layer][at, :length] for layer in layers}
    return found


def _continued(
    decoder: Decoder,
    ids: Tensor,
    layers: tuple[Layer, ...],
    alone: Mapping[Layer, Tensor],
) -> Mapping[Layer, Tensor]:
    """The states with the first half of the prompt cached; of a one-token prompt the plain states."""
    half = ids.shape[1] // 2
    if not half:
        return alone
    prefix = decoder.prefix(ids[0, :half], max(layers, key=depth))
    rest = decoder.states(ids[:, half:], layers, prefix=prefix)
    return {layer: torch.cat([alone[layer][:, :half], rest[layer]], dim=1) for layer in layers}
