"""How far evaluations of the same states are apart: what a resolution is made of (SPEC section 2)."""

import math
from collections.abc import Iterator
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Bool, Float, Float64
from pytest_injectivity.states.evaluations import Evaluations
from pytest_injectivity.states.resolution import Resolution
from pytest_injectivity.states.scaled import Scale
from pytest_injectivity.states.tolerance_by_norm import sinks

# The quantile that is called usual: the largest of some thousand distances is often several times it.
_USUAL = 0.99

# The share of states that the radius covers. In 16 bits the state of one token of some thousand stands
# between two outcomes, and evaluations of it are thirty times farther apart than those of all others.
_COVERED = 0.999

_ONE_ROUNDING = "one rounding of a state"


class SelfDistances:
    """Takes evaluations of states of one layer, and keeps what they differ by.

    The evaluations that make the scale come first, those that the radius is measured on second.
    """

    def __init__(self) -> None:
        self._largest = 0.0
        self._between = _ONE_ROUNDING
        self._unit = 0.0
        self._spread: Tensor | None = None
        self._sizes: Tensor | None = None
        self._rows = 0
        self._away: list[Tensor] = []
        self._norms: list[Tensor] = []
        self._scaled: list[Tensor] = []
        self._measured: list[Tensor] = []
        self._evaluations = 0
        self._error = math.nan
        self._scale: Scale | None = None

    def widen(self, found: Evaluations) -> None:
        """Takes evaluations that make the resolution of each coordinate.

        Attention sinks among them make none: they would make the coordinates of other states coarse.
        """
        states = _exact(found.states)
        self._see(found, states)
        norms = self._norms[-1]
        states = states[:, ~sinks(norms, float(norms.median())).to(states.device)]
        # The largest difference of two ways in a coordinate is its largest value less its smallest.
        widest = (states.amax(dim=0) - states.amin(dim=0)).amax(dim=0)
        sizes = states[0].abs().sum(dim=0)
        self._spread = widest if self._spread is None else torch.maximum(self._spread, widest)
        self._sizes = sizes if self._sizes is None else self._sizes + sizes
        self._rows += states.shape[1]

    def measure(self, found: Evaluations) -> None:
        """Takes evaluations that the radius is measured on, once the scale is made."""
        states = _exact(found.states)
        self._see(found, states)
        scaled = self.scale().divided(states)
        away = self._unit * torch.linalg.vector_norm(scaled[0], dim=1).cpu()
        for rows, _, apart in _apart(scaled, found.evaluated):
            away[rows] = torch.maximum(away[rows], apart.amax(dim=0))
        self._scaled.append(away)
        self._measured.append(self._norms[-1])
        self._evaluations += int(found.evaluated.sum())

    def compare(
        self, own: Float[Tensor, "states hidden"], exact: Float[Tensor, "states hidden"]
    ) -> None:
        """Takes states as deployed and the same states in float64."""
        error = float(torch.linalg.vector_norm(_exact(own) - _exact(exact), dim=1).max())
        self._error = error if math.isnan(self._error) else float(np.maximum(self._error, error))

    def scale(self) -> Scale:
        """``sigma_l``: what was seen of each coordinate, and at least one rounding of its usual size."""
        if self._scale is None:
            if self._spread is None or self._sizes is None:
                raise ValueError("no evaluation has made a scale")
            usual = self._sizes / self._rows
            usual = torch.where(usual == 0, usual.mean(), usual)
            sigma = torch.maximum(self._spread, self._unit * usual)
            # States that are 0 in every coordinate have no resolution; no distance is divided by 0.
            sigma = torch.where(sigma == 0, 1.0, sigma)
            self._scale = Scale(sigma.cpu().numpy())
        return self._scale

    def resolution(self) -> Resolution:
        """What was measured."""
        away, norms, scaled = (torch.cat(one) for one in (self._away, self._norms, self._scaled))
        # A state that is not finite is no sink: nothing is said without it.
        median = float(norms.median())
        others = away[~sinks(norms, median)]
        held_out = scaled[~sinks(torch.cat(self._measured), median)]
        # A sample may be so small that the states the radius is measured on are all sinks.
        held_out = held_out if len(held_out) else scaled
        return Resolution(
            distance=float(away.max()),
            between=self._between,
            ordinary=float(others.max()),
            median_norm=median,
            scale=self.scale(),
            radius=_covered(scaled),
            ordinary_radius=_covered(held_out),
            usual=float(torch.quantile(others, _USUAL)),
            usual_radius=float(torch.quantile(held_out, _USUAL)),
            evaluations=self._evaluations,
            error=self._error,
        )

    def _see(self, found: Evaluations, states: Float64[Tensor, "ways states hidden"]) -> None:
        """Takes the Euclidean distances of evaluations."""
        self._unit = torch.finfo(found.states.dtype).eps / 2
        norms = torch.linalg.vector_norm(states[0], dim=1).cpu()
        self._norms.append(norms)
        away = self._unit * norms
        self._note(float(away.max()), _ONE_ROUNDING)
        for rows, pairs, apart in _apart(states, found.evaluated):
            away[rows] = torch.maximum(away[rows], apart.amax(dim=0))
            farthest = pairs[int(apart.amax(dim=1).argmax())]
            self._note(float(apart.max()), " / ".join(found.ways[way] for way in farthest))
        self._away.append(away)

    def _note(self, largest: float, between: str) -> None:
        """Remembers which ways are farthest apart."""
        if largest > self._largest:
            self._largest, self._between = largest, between


def _covered(scaled: Float64[Tensor, " states"]) -> float:
    return float(torch.quantile(scaled, _COVERED, interpolation="higher"))


def _apart(
    states: Float64[Tensor, "ways states hidden"], evaluated: Bool[Tensor, "ways states"]
) -> Iterator[tuple[Tensor, list[tuple[int, int]], Float64[Tensor, "pairs some"]]]:
    """The distance of every two evaluations of each state, by subtraction.

    Yields:
        Indexes of states, pairs of ways, and the distances between these ways. The states that only the
        ways of all states evaluate come apart from the others, which are few.
    """
    of_all = evaluated.all(dim=1)
    more = evaluated[~of_all].any(dim=0)
    for rows, ways in ((~more, of_all), (more, torch.ones_like(of_all))):
        pairs = list(combinations(ways.nonzero()[:, 0].tolist(), 2))
        if rows.any() and pairs:
            some = states[:, rows.to(states.device)]
            apart = [
                torch.linalg.vector_norm(some[one] - some[other], dim=1) for one, other in pairs
            ]
            yield rows.nonzero()[:, 0], pairs, torch.stack(apart).cpu()


def _exact(rows: Float[Tensor, "*some hidden"]) -> Float64[Tensor, "*some hidden"]:
    # Apple's GPUs have no float64.
    return (rows.cpu() if rows.device.type == "mps" else rows).double()
