"""The fixed ball attacker is SipIt's published verifier at one tolerance for all layers and dtypes.

Source: Nikolaou et al., "Language Models are Injective and Hence Invertible", arXiv 2510.15511, alg. 1,
whose tolerance is a constant. How far two evaluations of one state lie apart grows with the state, and
states grow with depth: past the tolerance the verifier accepts nothing, while the nearest candidate is
still the right one. It is here because its rates are quoted; `ball` knows how far evaluations lie apart.
"""

from collections.abc import Sequence

import torch

from pytest_injectivity.privacy.attackers.base import NO_TOKEN, Guess, PositionwiseAttacker
from pytest_injectivity.privacy.search.channel import Channel, ChannelView
from pytest_injectivity.results.releases import FIXED_BALL, FIXED_TOLERANCE


class FixedBallAttacker(PositionwiseAttacker):
    """Answers with the only candidate within the tolerance of the row.

    Args:
        eps: the tolerance, in the units of the rows.
    """

    name = FIXED_BALL
    source = "SipIt: Nikolaou et al., arXiv 2510.15511, its tolerance a constant"
    prunes = True

    def __init__(self, eps: float = FIXED_TOLERANCE) -> None:
        self._eps = eps

    def fits(self, channel: Channel) -> bool:
        """Whether rows are shown in order and nothing is added to them: all noise is above 1e-5."""
        return channel.shows_rows_in_order and channel.noise.is_none

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The only candidate within the tolerance, which vouches for nothing."""
        found = view.nearest(prompts)
        alone = (found.values.sqrt() <= self._eps).sum(dim=1) == 1
        return Guess.unverified(torch.where(alone, found.tokens[:, 0], NO_TOKEN))
