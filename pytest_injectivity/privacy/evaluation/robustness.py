"""What the auditor alone can measure, knowing the truth: how much more noise an answer would stand.

Random noise says how often an attacker errs; the worst case says how far a released row would have
to be moved, by whoever chose the direction, before the nearest candidate is another one; and the
certified tolerance, half the distance from the true image to its nearest rival, is what no
perturbation of that size can do, whatever was released (SPEC section 4: argmin is exact if the
error is below ``delta / 2``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Bool, Float64
from pytest_injectivity.privacy.attackers.base import BaseAttack, Guess
from pytest_injectivity.privacy.search.channel import Channel, ChannelView
from pytest_injectivity.stats import lower_quantile

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""Of positions, from the one that stands least."""

POSITIONS = 256
"""Positions looked at where there are more: it costs as much as all attackers together."""


@dataclass(frozen=True, eq=False)
class Robustness:
    """How far the released rows are from being read as something else, over a sample of positions.

    Attributes:
        levels: `QUANTILES`.
        worst_case: quantiles of the smallest perturbation of a released row that makes another
            candidate nearer than the truth (below zero: one is already, by so much).
        certified: quantiles of half the distance from the true image to its nearest rival.
        share_certified: positions whose released row lies so near its image that the nearest
            candidate is the truth by the triangle inequality alone, two evaluations' error included.
        positions: how many.
    """

    levels: Float64[np.ndarray, " levels"]
    worst_case: Float64[np.ndarray, " levels"]
    certified: Float64[np.ndarray, " levels"]
    share_certified: float
    positions: int


class RobustnessProbe(BaseAttack):
    """Looks where attackers look, with the truth in hand.

    Args:
        prompts: the truth.
        known: tokens that every prompt begins with.
        seed: draws the positions, the same for every release.
    """

    def __init__(self, prompts: Sequence[Sequence[int]], known: int, seed: int) -> None:
        self._prompts = prompts
        every = [
            (prompt, position)
            for prompt, ids in enumerate(prompts)
            for position in range(known, len(ids))
        ]
        drawn = np.random.default_rng(seed).permutation(len(every))[:POSITIONS]
        self._looked_at = {every[one] for one in drawn.tolist()}
        self._radii: list[Tensor] = []
        self._tolerances: list[Tensor] = []
        self._certified: list[Tensor] = []

    @staticmethod
    def fits(channel: Channel) -> bool:
        """Rows that can be held against candidates position by position."""
        return channel.shows_rows_in_order

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """Measures at the positions drawn, and answers the truth."""
        at = view.position
        drawn = [one for one in prompts if (one, at) in self._looked_at]
        if drawn:
            self._measure(view, drawn)
        return Guess.unverified(torch.tensor([self._prompts[one][at] for one in prompts]))

    def _measure(self, view: ChannelView, prompts: Sequence[int]) -> None:
        candidates, at = view.candidates, view.position
        truths = torch.tensor([self._prompts[one][at] for one in prompts])
        truths = truths.to(candidates.rows.device)
        scan = view.scan(prompts)
        tolerances = candidates.margins(truths) / 2
        away = candidates.away(scan.targets, truths)
        certified: Bool[Tensor, " prompts"] = away + 2 * view.channel.floor(at) < tolerances
        self._radii.append(scan.radii(truths).cpu())
        self._tolerances.append(tolerances.cpu())
        self._certified.append(certified.cpu())

    def robustness(self) -> Robustness:
        """All positions together."""
        radii, tolerances = (torch.cat(one).numpy() for one in (self._radii, self._tolerances))
        certified = torch.cat(self._certified)
        return Robustness(
            levels=np.array(QUANTILES),
            worst_case=np.array([lower_quantile(radii, level) for level in QUANTILES]),
            certified=np.array([lower_quantile(tolerances, level) for level in QUANTILES]),
            share_certified=float(certified.double().mean()),
            positions=len(radii),
        )
