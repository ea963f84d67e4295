"""Tolerances that follow the length of a state (SPEC sections 2 and 4).

An attention sink is evaluated as coarsely as it is long, so that no absolute number serves it and other
states: measured on sinks it is too large for the others, and measured on the others too small for it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from torch import Tensor

from pytest_injectivity.core.shapes import Bool, Float64
from pytest_injectivity.errors import OptionError

SINK = 8.0
"""A state longer than so many times the median is an attention sink."""


def sinks(norms: Float64[Tensor, " states"], median_norm: float) -> Bool[Tensor, " states"]:
    """Which of these states are attention sinks; one whose length is not finite is none.

    Args:
        norms: the lengths of states of one group of positions.
        median_norm: of the group.

    Example:
        >>> import torch
        >>> sinks(torch.tensor([1.0, 8.0, 300.0], dtype=torch.float64), 1.0).tolist()
        [False, False, True]
    """
    return (norms > SINK * median_norm) & norms.isfinite()


def coarser(norm: float, median_norm: float) -> float:
    """How many times more coarsely than most a state of this length is evaluated: 1 but for a sink.

    Args:
        norm: of the state.
        median_norm: the median length of states of its group of positions.

    Example:
        >>> coarser(7.0, 1.0), coarser(50.0, 1.0)
        (1.0, 50.0)
    """
    return norm / median_norm if 0 < SINK * median_norm < norm < math.inf else 1.0


@dataclass(frozen=True)
class ToleranceByNorm:
    """A tolerance by position, which an attention sink has in proportion to its length.

    Attributes:
        values: at positions 0, 1, … for states that are no sinks; the last serves all after it.
        norms: the median length of states at these positions, likewise.
        fixed: the part of each value that does not grow, likewise: an error that was stated.

    Raises:
        OptionError: there is no number for a position, or one that is no tolerance or no length.

    Example:
        >>> ToleranceByNorm((0.5, 0.25), (100.0, 1.0)).at(3, norm=40.0)
        10.0
    """

    values: Sequence[float]
    norms: Sequence[float]
    fixed: Sequence[float] = (0.0,)

    def __post_init__(self) -> None:
        every = (self.values, self.norms, self.fixed)
        known = all(every) and not any(map(math.isnan, chain(*every)))
        if not known or not all(map(self._possible, range(max(map(len, every))))):
            raise OptionError(
                f"{self} is no tolerance: give finite numbers that are at least 0, lengths that are at"
                " least 0, and parts that do not grow that are at most the whole"
            )

    def at(self, position: int, norm: float) -> float:
        """The tolerance of a state of this length."""
        value, median, fixed = self._of(position)
        return fixed + coarser(norm, median) * (value - fixed)

    def _possible(self, position: int) -> bool:
        value, median, fixed = self._of(position)
        return 0.0 <= fixed <= value < math.inf and median >= 0.0

    def _of(self, position: int) -> tuple[float, float, float]:
        value, median, fixed = (
            one[min(position, len(one) - 1)] for one in (self.values, self.norms, self.fixed)
        )
        return value, median, fixed
