"""The argmin attacker takes the candidate nearest to a released row, of the whole vocabulary.

Source: Nikolaou et al., "Language Models are Injective and Hence Invertible", arXiv 2510.15511, alg. 1,
without its verifier (see `ball`).
"""

from collections.abc import Sequence

from pytest_injectivity.privacy.attackers.base import Guess, PositionwiseAttacker
from pytest_injectivity.privacy.search.channel import ChannelView


class ArgminAttacker(PositionwiseAttacker):
    """Answers with the nearest candidate, whatever its distance.

    It is run teacher-forced only. Free-running, the Mahalanobis attacker is run instead: it gives the
    same answers where the noise is isotropic, and better ones elsewhere.
    """

    name = "argmin"
    source = "SipIt: Nikolaou et al., arXiv 2510.15511"
    prunes = True

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The nearest candidate."""
        return Guess.unverified(view.nearest(prompts).tokens[:, 0], view.scan(prompts).ranks)
