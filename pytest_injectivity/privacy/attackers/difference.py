"""The difference attacker reads what two layers of one prompt differ by.

Whatever is added to the states of both layers alike is gone from their difference, which is what the
blocks between them add to the residual stream. It is compared with that of each candidate, and no law of
the noise is asked for. `mahalanobis` and `prior` know the law: they read from both layers together, and
of noise that is independent their log-likelihoods add up.

Source: differencing repeated answers, Dwork and Roth, "The Algorithmic Foundations of Differential
Privacy" (2014), section 1.1. Comparing it with the candidates of the one-step map is this package's.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64
from pytest_injectivity.privacy.attackers.base import Guess, PositionwiseAttacker
from pytest_injectivity.privacy.search.candidates import Candidates
from pytest_injectivity.privacy.search.channel import Channel, ChannelView


class DifferenceAttacker(PositionwiseAttacker):
    """Answers with the candidate whose two layers differ by what the released ones differ by."""

    name = "difference"
    source = "differencing: Dwork and Roth 2014, on the one-step map of arXiv 2510.15511"
    free_running = True

    def fits(self, channel: Channel) -> bool:
        """Whether noisy states of two layers are shown in order at every position."""
        two = len(channel.place.layers) > 1 and not channel.noise.is_none
        return two and channel.shows_rows_in_order

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The candidate of the nearest difference."""
        view = view.whole
        images = Candidates(_differences(view.images), named=view.table.named)
        rows = _differences(view.channel.at(prompts, view.position))
        scan = images.scan(rows)
        return Guess.unverified(scan.nearest().tokens[:, 0], scan.ranks)


def _differences(rows: Float[Tensor, "rows width"]) -> Float64[Tensor, "rows _side"]:
    deeper, shallower = torch.chunk(rows.double(), 2, dim=1)
    return deeper - shallower
