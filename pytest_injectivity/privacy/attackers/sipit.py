"""SipIt on released rows: the published verifier by a ball, and the nearest candidate of all.

Source: Nikolaou et al., "Language Models are Injective and Hence Invertible", arXiv 2510.15511, alg. 1:
the tokens before a position are known, and its state is compared with the state of each candidate token
after them. The same comparison of keys and values is the attack of Luo et al. (see `kv_collision`).
"""

from collections.abc import Sequence

import torch

from pytest_injectivity.privacy.attackers.base import NO_TOKEN, Guess, PositionwiseAttacker
from pytest_injectivity.privacy.search.channel import Channel, ChannelView

_SOURCE = "SipIt: Nikolaou et al., arXiv 2510.15511"


class BallAttacker(PositionwiseAttacker):
    """Answers with the only candidate within reach of the row, and vouches for it.

    Without a candidate within reach, or with several, it has no answer. The radius is that of an
    attacker who knows the law of the noise (`Channel.reach`).
    """

    name = "ball"
    source = _SOURCE

    def fits(self, channel: Channel) -> bool:
        """Whether rows are shown in order at every position."""
        return channel.shows_rows_in_order

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The only candidate within reach."""
        found = view.nearest(prompts)
        within = found.values.sqrt() <= view.channel.reach(view.position)
        alone = within.sum(dim=1) == 1
        return Guess(torch.where(alone, found.tokens[:, 0], NO_TOKEN), alone)


class ArgminAttacker(PositionwiseAttacker):
    """Answers with the nearest candidate, whatever its distance.

    It is run teacher-forced only. Free-running, `MahalanobisAttacker` is run instead: it gives the same
    answers where the noise is isotropic, and better ones elsewhere.
    """

    name = "argmin"
    source = _SOURCE

    def fits(self, channel: Channel) -> bool:
        """Whether rows are shown in order at every position."""
        return channel.shows_rows_in_order

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The nearest candidate."""
        return Guess.unverified(view.nearest(prompts).tokens[:, 0])
