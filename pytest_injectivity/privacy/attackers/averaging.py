"""The averaging attacker reads the mean of several releases of one prompt.

Independent noise averages out: of ``k`` releases it is that of one over the square root of ``k``. The
mean is read as the Mahalanobis attacker reads one release, with the noise that remains. Releases that
draw nothing have nothing to average, and shuffled rows do not add up.

Source: noise is no defence against repeated queries unless they are counted: Dinur and Nissim,
"Revealing Information while Preserving Privacy" (PODS 2003).
"""

from collections.abc import Sequence

from pytest_injectivity.privacy.attackers.base import Guess, PositionwiseAttacker
from pytest_injectivity.privacy.search.channel import Channel, ChannelView


class AveragingAttacker(PositionwiseAttacker):
    """Answers with the most likely candidate, given the mean of all releases of the prompt."""

    name = "averaging"
    source = "repeated queries: Dinur and Nissim 2003"
    prunes = True
    free_running = True

    def fits(self, channel: Channel) -> bool:
        """Whether noisy rows were shown in order, more than once."""
        several = channel.averaged is not None and not channel.noise.is_none
        return several and channel.shows_rows_in_order

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The candidate nearest to the mean row, by the noise that remains."""
        averaged = ChannelView(view.table, view.channel.averaged or view.channel)
        found = averaged.nearest(prompts, weighed=True).tokens[:, 0]
        return Guess.unverified(found, averaged.scan(prompts, weighed=True).ranks)
