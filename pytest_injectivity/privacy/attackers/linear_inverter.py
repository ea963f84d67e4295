"""The linear inverter learns from examples what each token adds to a released row, and what noise does.

It is a lens fitted to released rows instead of states (`inversion.lens_fitting`): token means, shrunk
towards a linear map of the embedding rows, and one covariance of all that they leave unexplained, the
release's noise among it. So it reads tokens that no example has, and runs no candidate. The rows of
position 0 have a lens of their own, because attention sinks are like no other rows.

Source: linear inversion of embeddings, Song and Raghunathan, "Information Leakage in Embedding Models"
(arXiv 2004.00053). With one covariance for all tokens it is the linear discriminant of the rows.
"""

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float
from pytest_injectivity.privacy.attackers.base import AttackSetting, LookedUp
from pytest_injectivity.privacy.search.channel import Channel


class LinearInverterAttacker:
    """Answers with the token whose learned mean is nearest, in the metric of what means leave over."""

    name = "linear inverter"
    source = "linear inversion: Song and Raghunathan, arXiv 2004.00053"
    teacher_forced = True
    free_running = False
    remembers = False

    def fits(self, channel: Channel) -> bool:
        """Whether rows are shown in order, and there are examples to learn from."""
        return channel.learns_rows_in_order

    def begin(self, setting: AttackSetting) -> LookedUp:
        """Learns from the examples, and answers all positions at once."""
        learned = setting.channel.learned(setting.decoder)
        released = setting.channel.released

        def scores(prompt: int, position: int) -> Float[Tensor, " vocab"]:
            row = released[prompt][position : position + 1]
            return learned.likelihoods(row, torch.tensor([position]))[0]

        return LookedUp(setting.channel, learned.best(*setting.channel.every_row), scores)
