"""How much further noise released rows stand before the nearest candidate is a wrong one.

The auditor knows the true tokens and can measure two tolerances. The worst case is the smallest move of
a released row, in the worst direction, that makes another candidate the nearest. The certified
tolerance is half the distance from the true image to its nearest rival: no perturbation below it
changes the nearest candidate, whatever was released (SPEC section 4: argmin is exact if the error is
below ``delta / 2``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Bool, Float64
from pytest_injectivity.privacy.attackers.base import BaseAttack, Guess
from pytest_injectivity.privacy.search.channel import Channel, ChannelView
from pytest_injectivity.stats import lower_quantile

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""The levels of the quantiles over positions."""

POSITIONS = 256
"""The most positions that are measured: measuring costs as much as all attackers together."""


@dataclass(frozen=True, eq=False)
class Robustness:
    """Quantiles of the tolerances of released rows, over a sample of positions.

    Attributes:
        levels: `QUANTILES`.
        worst_case: quantiles of the smallest perturbation of a released row that makes another
            candidate nearer than the true one; negative where one is nearer already.
        certified: quantiles of half the distance from the true image to its nearest rival.
        share_certified: share of positions whose released row is so near its image that the nearest
            candidate is the true one by the triangle inequality, the error of two evaluations included.
        positions: number of positions measured.
    """

    levels: Float64[np.ndarray, " levels"]
    worst_case: Float64[np.ndarray, " levels"]
    certified: Float64[np.ndarray, " levels"]
    share_certified: float
    positions: int


@dataclass(eq=False)
class Tolerances:
    """What was measured so far, a tensor for each look.

    Attributes:
        radii: the smallest perturbations.
        certified: half the distances from true images to their nearest rivals.
        sure: whether the nearest candidate is the true one by the triangle inequality.
    """

    radii: list[Tensor] = field(default_factory=list)
    certified: list[Tensor] = field(default_factory=list)
    sure: list[Tensor] = field(default_factory=list)

    def add(self, later: "Tolerances") -> None:
        """Adds what was measured of other prompts."""
        self.radii += later.radii
        self.certified += later.certified
        self.sure += later.sure


class RobustnessProbe(BaseAttack):
    """Measures tolerances in the schedule of attacks, as an attack that answers the truth.

    Args:
        prompts: the true tokens.
        known: number of tokens that every prompt begins with and that are not measured.
        seed: seed of the sample of positions, which is the same for every release.
        positions: the most positions that are measured, each against the whole vocabulary.

    Attributes:
        measured: what was measured so far.
    """

    compares = False

    def __init__(
        self, prompts: Sequence[Sequence[int]], known: int, seed: int, positions: int = POSITIONS
    ) -> None:
        self._prompts = prompts
        every = [
            (prompt, position)
            for prompt, ids in enumerate(prompts)
            for position in range(known, len(ids))
        ]
        drawn = np.random.default_rng(seed).permutation(len(every))[:positions]
        self._looked_at = {every[one] for one in drawn.tolist()}
        self.measured = Tolerances()

    @staticmethod
    def fits(channel: Channel) -> bool:
        """Whether rows can be compared with candidates position by position."""
        return channel.shows_rows_in_order

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """Measures the positions of the sample, and answers the truth."""
        at = view.position
        drawn = [one for one in prompts if (one, at) in self._looked_at]
        if drawn:
            self._measure(view.whole, drawn)
        return Guess.unverified(torch.tensor([self._prompts[one][at] for one in prompts]))

    def _measure(self, view: ChannelView, prompts: Sequence[int]) -> None:
        candidates, at = view.candidates, view.position
        truths = torch.tensor([self._prompts[one][at] for one in prompts])
        truths = truths.to(candidates.rows.device)
        scan = view.scan(prompts)
        tolerances = candidates.margins(truths) / 2
        away = candidates.away(scan.targets, truths)
        certified: Bool[Tensor, " prompts"] = away + 2 * view.channel.floor(at) < tolerances
        self.measured.radii.append(scan.radii(truths).cpu())
        self.measured.certified.append(tolerances.cpu())
        self.measured.sure.append(certified.cpu())

    def robustness(self) -> Robustness:
        """The quantiles over the positions measured."""
        measured = self.measured
        radii, tolerances = (torch.cat(one).numpy() for one in (measured.radii, measured.certified))
        certified = torch.cat(measured.sure)
        return Robustness(
            levels=np.array(QUANTILES),
            worst_case=np.array([lower_quantile(radii, level) for level in QUANTILES]),
            certified=np.array([lower_quantile(tolerances, level) for level in QUANTILES]),
            share_certified=float(certified.double().mean()),
            positions=len(radii),
        )
