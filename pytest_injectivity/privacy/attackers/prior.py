"""The prior attacker weighs the likelihood of each token under the noise with the model's own prior.

Source: BeamClean (Kale et al., "BeamClean: Language Aware Embedding Reconstruction", arXiv 2505.13758)
reads noisy embeddings with a language model's prior; it has to estimate the noise, while the attacker
here knows its law. On a one-step map the attacker is optimal at one position: no other errs less on
average if text is as likely as the model says.
"""

from collections.abc import Sequence
from functools import partial

from pytest_injectivity.privacy.attackers.base import Guess, PositionwiseAttacker
from pytest_injectivity.privacy.search.channel import ChannelView


class PriorAttacker(PositionwiseAttacker):
    """Answers with the candidate of the largest likelihood times next-token probability.

    Where several candidates have the same image, the most likely text decides.
    """

    name = "prior"
    source = "BeamClean: Kale et al., arXiv 2505.13758, one position at a time"
    prunes = True

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The candidate of the largest posterior."""
        penalties = 2 * view.channel.metric(view.position).variance * view.surprise
        scan = view.scan(prompts, weighed=True)
        found = scan.nearest(1, penalties)
        return Guess.unverified(found.tokens[:, 0], partial(scan.ranks, penalties=penalties))
