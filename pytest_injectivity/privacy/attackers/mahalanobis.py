"""The Mahalanobis attacker takes the most likely token under the noise.

Sources: Mahalanobis (1936), and every matched filter, judge noise that is loud in few directions by its
covariance. On a one-step map the attacker is optimal at one position: no other errs less on average if
all tokens are equally likely.
"""

from collections.abc import Sequence

from pytest_injectivity.privacy.attackers.base import Guess, PositionwiseAttacker
from pytest_injectivity.privacy.search.channel import ChannelView


class MahalanobisAttacker(PositionwiseAttacker):
    """Answers with the nearest candidate by the Mahalanobis distance of noise plus ``nu^2 I``."""

    name = "mahalanobis"
    source = "Mahalanobis 1936, on the one-step map of arXiv 2510.15511"
    free_running = True
    prunes = True

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The nearest candidate by Mahalanobis distance."""
        found = view.nearest(prompts, weighed=True).tokens[:, 0]
        return Guess.unverified(found, view.scan(prompts, weighed=True).ranks)
