"""Rows projected on a few directions, as a coarse filter of their distances.

A projection never lengthens a distance, so that no near pair is missed. Two rows within eps of each
other are within eps along every direction. Sorting along one therefore finds all pairs within a
small eps without looking at all pairs, and the distance in the space that a few orthonormal
directions span is a lower bound that costs a fraction of the whole one. The directions are those
along which the rows spread most; any others would be correct too, and slower.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64, Int64
from pytest_injectivity.geometry.search.limits import DEFAULT_LIMITS, SearchLimits

_SAMPLE = 1024
_ROUNDS = 3
_CHUNK_ELEMENTS = 2**22


@dataclass(frozen=True)
class Projections:
    """Coordinates of rows along orthonormal directions.

    Attributes:
        coordinates: in the rows' units, widest direction first.
        slack: a distance along any or all of the directions is off by no more than this.
        limits: how many candidates are looked at together.
    """

    coordinates: Float64[Tensor, "n axes"]
    slack: float
    limits: SearchLimits = DEFAULT_LIMITS

    @classmethod
    def of(
        cls, rows: Float[Tensor, "n hidden"], axes: int, limits: SearchLimits = DEFAULT_LIMITS
    ) -> "Projections":
        """Project finite rows on their principal directions, or nearly those."""
        width = rows.shape[1]
        directions = _principal_directions(rows, min(axes, width))
        step = max(1, _CHUNK_ELEMENTS // max(1, width))
        coordinates = torch.cat([part.double() @ directions for part in torch.split(rows, step)])
        # A dot product of d terms in float64, twice; the directions' own rounding is as small.
        unit = torch.finfo(torch.float64).eps * axes**0.5
        longest = width**0.5 * float(rows.abs().max())
        slack = (2.2 * width + 40) * unit * longest
        return cls(coordinates, slack, limits)

    def pairs(self, eps: float) -> "CandidatePairs":
        """The pairs that may be within eps, found along the direction that leaves the fewest."""
        window = eps + self.slack
        best = None
        for axis in range(self.coordinates.shape[1]):
            values, order = self.coordinates[:, axis].sort()
            last = torch.searchsorted(values, values + window, right=True)
            counts = last - torch.arange(1, len(values) + 1, device=values.device)
            found = CandidatePairs(self, axis, order, counts, window)
            if best is None or found.total < best.total:
                best = found
        assert best is not None  # noqa: S101 - there is at least one axis
        return best


@dataclass(frozen=True)
class CandidatePairs:
    """Pairs of rows within a window along one direction.

    Attributes:
        projections: of the rows.
        axis: the direction they are sorted along.
        order: rows in that order.
        counts: how many rows after each one are within the window.
        window: eps and the slack.
    """

    projections: Projections
    axis: int
    order: Int64[Tensor, " n"]
    counts: Int64[Tensor, " n"]
    window: float

    @property
    def total(self) -> int:
        """How many there are."""
        return int(self.counts.sum())

    def within_all(self) -> Iterator[tuple[Int64[Tensor, " pairs"], Int64[Tensor, " pairs"]]]:
        """Those within the window in the space of all directions: lefts and rights, each pair once."""
        ends = self.counts.cumsum(0)
        coordinates = self.projections.coordinates[self.order]
        together = self.projections.limits.pairs_together
        for start in range(0, self.total, together):
            number = torch.arange(
                start, min(start + together, self.total), device=self.order.device
            )
            left = torch.searchsorted(ends, number, right=True)
            right = left + 1 + number - (ends - self.counts)[left]
            # One direction after the other: few pairs are left after the first ones.
            squared = torch.zeros(len(left), dtype=torch.float64, device=left.device)
            for axis in range(coordinates.shape[1]):
                apart = coordinates[left, axis] - coordinates[right, axis]
                squared += apart.square()
                kept = squared <= self.window**2 * (1 + 1e-12)
                left, right, squared = left[kept], right[kept], squared[kept]
            yield self.order[left], self.order[right]


def _principal_directions(
    rows: Float[Tensor, "n hidden"], axes: int
) -> Float64[Tensor, "hidden axes"]:
    """Orthonormal directions of wide spread, by a few rounds of subspace iteration on a sample."""
    sample = rows[:: max(1, len(rows) // _SAMPLE)].double()
    sample = sample - sample.mean(0)
    largest = float(sample.abs().max())
    sample = sample / largest if largest > 0 else sample
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(rows.shape[1], axes, dtype=torch.float64, generator=generator)
    directions = directions.to(rows.device)
    for _ in range(_ROUNDS):
        directions = torch.linalg.qr(directions)[0]
        directions = sample.T @ (sample @ directions) + 1e-9 * directions
    orthonormal: Tensor = torch.linalg.qr(directions)[0]
    return orthonormal
