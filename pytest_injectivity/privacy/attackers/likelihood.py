"""Attackers by likelihood: the most likely token under the noise, without and with the model's prior.

Sources: Mahalanobis (1936), and every matched filter, judge noise that is loud in few directions by its
covariance. BeamClean (Kale et al., "BeamClean: Language Aware Embedding Reconstruction", arXiv
2505.13758) reads noisy embeddings with a language model's prior; it has to estimate the noise, while the
attacker here knows its law. On a one-step map both attackers are optimal at one position: no other errs
less on average if all tokens are equally likely or, with the prior, if text is as likely as the model
says.
"""

from collections.abc import Sequence

from pytest_injectivity.privacy.attackers.base import Guess, PositionwiseAttacker
from pytest_injectivity.privacy.search.channel import Channel, ChannelView


class MahalanobisAttacker(PositionwiseAttacker):
    """Answers with the nearest candidate by the Mahalanobis distance of noise plus ``nu^2 I``."""

    name = "mahalanobis"
    source = "Mahalanobis 1936, on the one-step map of arXiv 2510.15511"
    free_running = True

    def fits(self, channel: Channel) -> bool:
        """Whether rows are shown in order at every position."""
        return channel.shows_rows_in_order

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The nearest candidate by Mahalanobis distance."""
        return Guess.unverified(view.nearest(prompts, weighed=True).tokens[:, 0])


class PriorAttacker(PositionwiseAttacker):
    """Answers with the candidate of the largest likelihood times next-token probability.

    Where several candidates have the same image, the most likely text decides.
    """

    name = "prior"
    source = "BeamClean: Kale et al., arXiv 2505.13758, one position at a time"

    def fits(self, channel: Channel) -> bool:
        """Whether rows are shown in order at every position."""
        return channel.shows_rows_in_order

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The candidate of the largest posterior."""
        penalties = 2 * view.channel.metric(view.position).variance * view.table.surprise
        found = view.scan(prompts, weighed=True).nearest(1, penalties)
        return Guess.unverified(found.tokens[:, 0])
