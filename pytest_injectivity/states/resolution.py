"""The resolution of a layer: what two evaluations of one prompt may differ by (SPEC section 2).

The same prompt evaluated alone, in a batch, padded, behind a cached prefix or side by side with others
gives states that differ in their last places. The largest such distance over a sample is the resolution,
and no less than one rounding of a state. Outlier coordinates round coarsely and the others do not, so
each coordinate has a resolution of its own too. The radius, a distance in these units that 999 of 1,000
states are within, is measured on evaluations that did not make them. Position 0 is apart, because
attention sinks make states there huge. At later positions one state of thousands is a sink as well: it
rounds as coarsely as it is long, which says nothing of pairs of other states.

The error, the distance to the same weights in true float64, is another number: it says how far the
deployed function is from the exact one, and decides nothing about the deployed one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from pytest_injectivity.states.scaled import Scale, Scales
from pytest_injectivity.states.tolerance_by_norm import ToleranceByNorm, coarser


@dataclass(frozen=True, eq=False)
class Resolution:
    """The resolution at one group of positions, in the states' own units.

    Attributes:
        distance: ``nu_l``: the largest distance between two evaluations of one state, and at least one
            rounding; NaN where states are not finite.
        between: the two ways of evaluation that are so far apart.
        ordinary: the same without attention sinks: what pairs of other states are held against.
        median_norm: the median length of the states.
        scale: ``sigma_l``: the resolution of each coordinate, attention sinks left out.
        radius: the scaled distance that evaluations of 999 of 1,000 states are within: the largest of
            fewer. These did not make the scale; at least one rounding.
        ordinary_radius: the same without attention sinks.
        usual: the 99 % quantile of the distances of states that are no attention sinks, over positions.
        usual_radius: likewise of the scaled distances.
        evaluations: how many evaluations of a token at a position the radius is measured on.
        error: the largest distance to the states in float64; NaN where it could not be measured.
    """

    distance: float
    between: str
    ordinary: float
    median_norm: float
    scale: Scale
    radius: float
    ordinary_radius: float
    usual: float
    usual_radius: float
    evaluations: int
    error: float

    def of_norm(self, norm: float) -> "Resolution":
        """The resolution of a state of this length: this one, or a coarser one for an attention sink.

        A sink's is the largest that was seen of any state, and no finer relative to its length than
        that of the others.
        """
        times = coarser(norm, self.median_norm)
        if times == 1.0:
            return self
        if self.ordinary > 0:
            times = max(self.distance / self.ordinary, times)
        return replace(
            self,
            ordinary=max(self.distance, times * self.ordinary),
            usual=times * self.usual,
            ordinary_radius=max(self.radius, times * self.ordinary_radius),
            usual_radius=times * self.usual_radius,
        )


@dataclass(frozen=True, eq=False)
class LayerResolution:
    """The resolution of a layer over a sample of prompts.

    Attributes:
        later: at every position from 1 on; at position 0 where no prompt can have another.
        measure_first: measures that of position 0.
        prompts: prompts and sequences of the sample, both parts together.
    """

    later: Resolution
    measure_first: Callable[[], Resolution]
    prompts: int

    @cached_property
    def first(self) -> Resolution:
        """The resolution at position 0, measured when it is first asked for."""
        return self.measure_first()

    @property
    def value(self) -> float:
        """``nu_l`` of states at positions from 1 on."""
        return self.later.distance

    @property
    def error(self) -> float:
        """``err_l`` of states at positions from 1 on."""
        return self.later.error

    @property
    def scales(self) -> Scales:
        """``sigma_l`` by position."""
        return Scales(self.first.scale, self.later.scale)

    @property
    def radii(self) -> tuple[float, float]:
        """The scaled radius at position 0 and at later ones, of states that are no attention sinks."""
        return self.first.ordinary_radius, self.later.ordinary_radius

    @property
    def ordinary(self) -> tuple[float, float]:
        """The resolution at position 0 and at later ones, likewise."""
        return self.first.ordinary, self.later.ordinary

    @property
    def median_norms(self) -> tuple[float, float]:
        """The median length of states at position 0 and at later ones."""
        return self.first.median_norm, self.later.median_norm

    @property
    def scaled_tolerance(self) -> ToleranceByNorm:
        """How far, scaled, evaluations of a state lie apart, by its position and its length."""
        return ToleranceByNorm(self.radii, self.median_norms)

    @property
    def tolerance(self) -> ToleranceByNorm:
        """How far evaluations of a state lie apart, by its position and its length."""
        return ToleranceByNorm(self.ordinary, self.median_norms)

    def at(self, position: int) -> float:
        """``nu_l`` at a position."""
        return self.of(position).distance

    def of(self, position: int) -> Resolution:
        """The resolution at a position."""
        return self.later if position else self.first
