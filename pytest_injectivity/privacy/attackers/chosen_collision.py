"""The chosen collision attacker reads a shared KV cache by thresholds that it learned on chosen prompts.

On examples it measures how far released keys and values lie from the images of their own tokens, each
side by itself. Then it takes the candidate whose distances are smallest in these units, and vouches for
it where it is the only one within both thresholds. So it needs no law of the noise. The image of each
candidate is its continuation of the tokens before.

Source: "collision+", the attack by chosen plaintext of Luo et al., "Shadow in the Cache" (arXiv
2508.09442, NDSS 2026), which stops at the first candidate within both thresholds. Their injection
attack, which asks the model itself to repeat what a cache holds, needs the caches of all blocks; a
release is that of one.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float64
from pytest_injectivity.inversion.one_step import distances_from_each
from pytest_injectivity.privacy.attackers.base import AttackSetting, BaseAttack, Guess
from pytest_injectivity.privacy.search.channel import Channel, ChannelView

# A candidate is within a threshold up to so many standard deviations above the mean distance.
_DEVIATIONS = 3.0


class ChosenCollisionAttacker:
    """Answers with the candidate nearest in the units of distances that examples have."""

    name = "collision+"
    source = "Shadow in the Cache: Luo et al., arXiv 2508.09442"
    teacher_forced = True
    free_running = True

    def fits(self, channel: Channel) -> bool:
        """Whether keys or values are shown in order at every position, and there are examples."""
        return channel.shows_rows_in_order and channel.place.cached and len(channel.examples) > 0

    def begin(self, setting: AttackSetting) -> "_ChosenCollisionAttack":
        """Learns the thresholds."""
        return _ChosenCollisionAttack(_thresholds(setting))


class _ChosenCollisionAttack(BaseAttack):
    def __init__(self, thresholds: Float64[Tensor, " sides"]) -> None:
        self._thresholds = thresholds

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The nearest candidate, verified where no other one is within the thresholds."""
        found = [self._nearest(view.whole, prompt) for prompt in prompts]
        answers, sure = zip(*found, strict=True)
        return Guess(torch.tensor(answers), torch.tensor(sure))

    def _nearest(self, view: ChannelView, prompt: int) -> tuple[int, bool]:
        sides, row = list(view.channel.sides), view.channel.at([prompt], view.position)
        pairs = zip(torch.split(view.images, sides, 1), torch.split(row, sides, 1), strict=True)
        away = torch.stack([distances_from_each(image, own)[0] for image, own in pairs]).double()
        shares = away / self._thresholds[:, None]
        shares = torch.where(shares.isnan(), torch.inf, shares)
        if view.candidates.found is not None:
            shares = shares.masked_fill(~view.candidates.found, torch.inf)
        within = (shares <= 1.0).all(dim=0)
        token = int(shares.square().sum(dim=0).argmin())
        return token, bool(within[token]) and int(within.sum()) == 1


def _thresholds(setting: AttackSetting) -> Float64[Tensor, " sides"]:
    """How far the released rows of examples lie from the images of their own tokens, side by side."""
    channel = setting.channel
    examples = channel.practice if len(channel.practice) else channel.known
    away = torch.cat(examples.rows).double() - setting.images(examples)
    off = torch.split(away, list(channel.sides), dim=1)
    lengths = torch.stack([torch.linalg.vector_norm(side, dim=1) for side in off])
    most = lengths.mean(dim=1) + _DEVIATIONS * lengths.std(dim=1, correction=0)
    return most + 2 * max(channel.nu)
