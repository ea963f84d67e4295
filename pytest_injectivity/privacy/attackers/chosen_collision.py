"""The chosen collision attacker reads a shared KV cache by thresholds that it learned on chosen prompts.

On examples it measures how far released keys and values lie from the images of their own tokens, each
side by itself. Then it takes the candidate whose distances are smallest in these units, and vouches for
it where no other one can be within both thresholds. So it needs no law of the noise. The image of each
candidate is its continuation of the tokens before.

Source: "collision+", the attack by chosen plaintext of Luo et al., "Shadow in the Cache" (arXiv
2508.09442, NDSS 2026), which stops at the first candidate within both thresholds. Their attack by
injection is `injection`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64
from pytest_injectivity.privacy.attackers.base import AttackSetting, BaseAttack, Guess
from pytest_injectivity.privacy.releases.noise import Noise
from pytest_injectivity.privacy.search.candidates import Candidates
from pytest_injectivity.privacy.search.channel import Channel, ChannelView
from pytest_injectivity.privacy.search.mahalanobis import MahalanobisMetric

# A candidate is within a threshold up to so many standard deviations above the mean distance.
_DEVIATIONS = 3.0


class ChosenCollisionAttacker:
    """Answers with the candidate nearest in the units of distances that examples have."""

    name = "collision+"
    source = "Shadow in the Cache: Luo et al., arXiv 2508.09442"
    teacher_forced = True
    free_running = True
    remembers = False

    def fits(self, channel: Channel) -> bool:
        """Whether keys or values are shown in order at every position, and there are examples."""
        return channel.shows_rows_in_order and channel.place.cached and len(channel.examples) > 0

    def begin(self, setting: AttackSetting) -> "_ChosenCollisionAttack":
        """Learns the thresholds."""
        return _ChosenCollisionAttack(_thresholds(setting), setting.channel.sides)


class _ChosenCollisionAttack(BaseAttack):
    def __init__(self, thresholds: Float64[Tensor, " sides"], sides: Sequence[int]) -> None:
        self._sides = list(sides)
        # Distances in units of the thresholds are those by noise of their size.
        self._units = torch.cat(
            [unit.expand(width) for unit, width in zip(thresholds, sides, strict=True)]
        )
        none = torch.zeros(0, len(self._units), dtype=torch.float64)
        self._metric = MahalanobisMetric.of(Noise(self._units.cpu(), none), 0.0)

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The nearest candidate, verified where no other one can be within all thresholds."""
        images, rows = view.whole.images, view.channel.at(prompts, view.position)
        scan = Candidates(images, self._metric, view.table.named).scan(rows)
        tokens = scan.nearest(2).tokens
        first, *second = (self._shares(rows, images[own]) for own in tokens.T)
        sure = (first <= 1.0).all(dim=1)
        for other in second:
            # What is within every threshold is no farther than this in all.
            sure &= other.sum(dim=1) > len(self._sides)
        return Guess(tokens[:, 0], sure, scan.ranks)

    def _shares(
        self, rows: Float[Tensor, "prompts width"], images: Float[Tensor, "prompts width"]
    ) -> Float64[Tensor, "prompts sides"]:
        """How far each side of a row is, squared, in units of its threshold."""
        away = ((rows.double() - images.double()) / self._units).square()
        parts = torch.split(away, self._sides, dim=1)
        return torch.stack([side.sum(dim=1) for side in parts], dim=1)


def _thresholds(setting: AttackSetting) -> Float64[Tensor, " sides"]:
    """How far the released rows of examples lie from the images of their own tokens, side by side."""
    channel = setting.channel
    examples = channel.practice if len(channel.practice) else channel.known
    away = torch.cat(examples.rows).double() - setting.images(examples)
    off = torch.split(away, list(channel.sides), dim=1)
    lengths = torch.stack([torch.linalg.vector_norm(side, dim=1) for side in off])
    most = lengths.mean(dim=1) + _DEVIATIONS * lengths.std(dim=1, correction=0)
    return most + 2 * max(channel.nu)
