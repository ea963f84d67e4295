"""The ball attacker is SipIt's published verifier on released rows.

Source: Nikolaou et al., "Language Models are Injective and Hence Invertible", arXiv 2510.15511, alg. 1:
the tokens before a position are known, and its state is compared with the state of each candidate token
after them. The same comparison of keys and values is the attack of Luo et al. (see `kv_collision`).
"""

from collections.abc import Sequence

import torch

from pytest_injectivity.privacy.attackers.base import NO_TOKEN, Guess, PositionwiseAttacker
from pytest_injectivity.privacy.search.channel import ChannelView


class BallAttacker(PositionwiseAttacker):
    """Answers with the only candidate within reach of the row, and vouches for it.

    Without a candidate within reach, or with several, it has no answer. The radius is that of an
    attacker who knows the law of the noise (`Channel.reach`).
    """

    name = "ball"
    source = "SipIt: Nikolaou et al., arXiv 2510.15511"
    prunes = True

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The only candidate within reach."""
        found = view.nearest(prompts)
        within = found.values.sqrt() <= view.channel.reach(view.position)
        alone = within.sum(dim=1) == 1
        return Guess(torch.where(alone, found.tokens[:, 0], NO_TOKEN), alone)
