"""SipIt on released rows: the ball, and the nearest of the whole vocabulary.

Source: Nikolaou et al., "Language Models are Injective and Hence Invertible", arXiv 2510.15511, alg. 1:
with the tokens before it known, a state is compared with the state of each candidate token in their
place. The same on keys and values is the collision attack of Luo et al. (see `collision`).
"""

from collections.abc import Sequence

import torch

from pytest_injectivity.privacy.attackers.base import NO_TOKEN, Guess, PositionwiseAttacker
from pytest_injectivity.privacy.search.channel import Channel, ChannelView

_SOURCE = "SipIt: Nikolaou et al., arXiv 2510.15511"


class BallAttacker(PositionwiseAttacker):
    """Takes the one candidate within reach of the noise; none, or several, is no answer.

    The published verifier with the radius of an attacker who knows the law of the noise
    (`Channel.reach`), and with its uniqueness: what it answers it vouches for.
    """

    name = "ball"
    source = _SOURCE

    def fits(self, channel: Channel) -> bool:
        """Every position in its place."""
        return channel.shows_rows_in_order

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The only candidate within reach."""
        found = view.nearest(prompts)
        within = found.values.sqrt() <= view.channel.reach(view.position)
        alone = within.sum(dim=1) == 1
        return Guess(torch.where(alone, found.tokens[:, 0], NO_TOKEN), alone)


class ArgminAttacker(PositionwiseAttacker):
    """Takes the nearest candidate, whatever its distance.

    It is run teacher-forced only. Free-running, `MahalanobisAttacker` is run instead: it gives the same
    answers where the noise is isotropic, and better ones elsewhere.
    """

    name = "argmin"
    source = _SOURCE

    def fits(self, channel: Channel) -> bool:
        """Every position in its place."""
        return channel.shows_rows_in_order

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The nearest."""
        return Guess.unverified(view.nearest(prompts).tokens[:, 0])
