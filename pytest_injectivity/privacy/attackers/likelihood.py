"""The likeliest token under the release's own noise, and the likeliest with the model's own prior.

Sources: that noise which is loud in few directions must be judged by its covariance is Mahalanobis'
(1936) and every matched filter's; that noisy embeddings are read far better with a language model's
prior is BeamClean's (Kale et al., "BeamClean: Language Aware Embedding Reconstruction", arXiv
2505.13758), which has to estimate the noise where the attacker here is told its law. On a one-step
map both are the best there is of one position: no attacker does better on average if all tokens are
equally likely, nor, with the prior, if text is as the model says.
"""

from collections.abc import Sequence

from pytest_injectivity.privacy.attackers.base import Guess, PositionwiseAttacker
from pytest_injectivity.privacy.search.channel import Channel, ChannelView


class MahalanobisAttacker(PositionwiseAttacker):
    """The nearest candidate by Mahalanobis' distance under the noise's covariance plus ``nu^2 I``."""

    name = "mahalanobis"
    source = "Mahalanobis 1936, on the one-step map of arXiv 2510.15511"
    free_running = True

    def fits(self, channel: Channel) -> bool:
        """Every position in its place."""
        return channel.shows_rows_in_order

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The nearest."""
        return Guess.unverified(view.nearest(prompts, weighed=True).tokens[:, 0])


class PriorAttacker(PositionwiseAttacker):
    """The candidate of the largest posterior: likelihood times the model's own next-token probability.

    Where a release makes one image of several candidates, the likeliest text decides.
    """

    name = "prior"
    source = "BeamClean: Kale et al., arXiv 2505.13758, one position at a time"

    def fits(self, channel: Channel) -> bool:
        """Every position in its place."""
        return channel.shows_rows_in_order

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The likeliest."""
        penalties = 2 * view.channel.metric(view.position).variance * view.table.surprise
        found = view.scan(prompts, weighed=True).nearest(1, penalties)
        return Guess.unverified(found.tokens[:, 0])
