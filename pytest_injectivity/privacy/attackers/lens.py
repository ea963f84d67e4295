"""The lens attacker compares a state with the signature that a linear model gives every token.

It runs no candidate: the lens of a layer is calibrated once, and one product ranks all tokens for all
states. Source: this package (SPEC section 4, `inversion.lens`).
"""

import torch

from pytest_injectivity.privacy.attackers.base import AttackSetting, LookedUp
from pytest_injectivity.privacy.search.channel import Channel
from pytest_injectivity.privacy.search.lens_cache import lens_of


class LensAttacker:
    """Answers with the token that a lens of the layer ranks first."""

    name = "lens"
    source = "this package: one look of a linear forward model"
    teacher_forced = True
    free_running = False
    remembers = False

    def fits(self, channel: Channel) -> bool:
        """Whether states are shown in order at every position."""
        return channel.shows_rows_in_order and channel.place.of_states

    def begin(self, setting: AttackSetting) -> LookedUp:
        """Answers all positions at once, with one lens for all releases."""
        channel = setting.channel
        lens = lens_of(setting.decoder, channel.place.layer, channel.lengths, setting.seed)
        released = torch.cat(channel.released)
        positions = torch.cat([torch.arange(length) for length in channel.lengths])
        queries = lens.uncorrected(released, positions.to(released.device))
        each = torch.split(queries, list(channel.lengths))
        return LookedUp(
            channel,
            lens.rank(queries, 1)[:, 0],
            lambda one, at: -lens.misfits(each[one][at : at + 1])[0],
        )
