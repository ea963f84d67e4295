"""Ranks the tokens that a released row may be of, before any candidate is run.

Two linear models say how likely a row is of each token: the lens of the layer, with the release's noise,
and a lens learned from examples of the release. Each is taken with and without the model's own
next-token probabilities, because some attackers use these. The mean of all is the ranking's posterior,
in logarithms: far down a list the shares themselves are below the smallest float.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float32
from pytest_injectivity.inversion.lens import Lens
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.search.channel import Channel
from pytest_injectivity.privacy.search.lens_cache import lens_of


class Ranking:
    """Which tokens the rows of a channel may be of.

    Args:
        decoder: the attackers' model.
        channel: the release; all its rows are shown, in order.
        seed: seed of the sequences that the lens is calibrated on.
    """

    def __init__(self, decoder: Decoder, channel: Channel, seed: int) -> None:
        self._channel = channel
        self._learned = channel.learned(decoder) if channel.learns_rows_in_order else None
        self._lens: Lens | None = None
        if channel.place.of_states:
            lens = lens_of(decoder, channel.place.layer, channel.lengths, seed)
            noise = channel.noise
            self._lens = lens if noise.is_none else lens.noised(noise.covariance())

    def log_posteriors(
        self,
        prompts: Sequence[int],
        position: int,
        surprise: Float32[Tensor, " vocab"],
    ) -> Float32[Tensor, "prompts vocab"] | None:
        """The logarithm of each token's share at a position of some prompts; None where nothing ranks.

        Args:
            prompts: the prompts.
            position: where their rows are.
            surprise: the model's, after the prefix that they share.
        """
        rows = self._channel.at(prompts, position)
        found = [
            share
            for misfits in self._misfits(rows, position)
            for share in ((-misfits).log_softmax(dim=1), (-misfits - surprise).log_softmax(dim=1))
        ]
        return torch.stack(found).logsumexp(dim=0) - math.log(len(found)) if found else None

    def _misfits(
        self, rows: Float[Tensor, "prompts width"], position: int
    ) -> list[Float[Tensor, "prompts vocab"]]:
        """Minus the log-likelihood of each token by each linear model."""
        models = (
            [] if self._learned is None else [(self._learned.at(position), max(0, position - 1))]
        )
        # The lens of a layer has no mean for position 0.
        models += [(self._lens, position)] if position else []
        return [
            lens.misfits(lens.uncorrected(rows, torch.full((len(rows),), at))) / 2
            for lens, at in models
            if lens is not None
        ]
