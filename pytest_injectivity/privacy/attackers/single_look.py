"""One look: which token a released state is like, without running any candidate.

The weakest attackers, and the cheapest: a model's embedding rows, or its lens, against a state.

Sources: the nearest embedding row is a baseline of Qu et al., "Prompt Inversion Attack against
Collaborative Inference of Large Language Models", arXiv 2503.09022; the lens is this package's
(SPEC section 4, `inversion.lens`).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pytest_injectivity.core.shapes import Int64
from pytest_injectivity.privacy.attackers.base import AttackSetting, BaseAttack, Guess
from pytest_injectivity.privacy.search.channel import Channel, ChannelView
from pytest_injectivity.privacy.search.lens_cache import lens_of


class EmbeddingAttacker:
    """The embedding row whose direction is nearest to the state's."""

    name = "embedding"
    source = "a baseline of Qu et al., arXiv 2503.09022"
    teacher_forced = True
    free_running = False

    def fits(self, channel: Channel) -> bool:
        """States at every position."""
        return channel.shows_rows_in_order and not channel.place.cached

    def begin(self, setting: AttackSetting) -> "LookedUp":
        """All states at once."""
        embeddings = setting.decoder.embedding_matrix().nan_to_num()
        rows = normalize(setting.channel.release.image(embeddings).float(), dim=1)
        released = torch.cat(setting.channel.released).to(rows)
        return LookedUp(setting.channel, (normalize(released, dim=1) @ rows.T).argmax(dim=1))


class LensAttacker:
    """The token that a calibrated forward model of the layer's states ranks first."""

    name = "lens"
    source = "this package: one look of a linear forward model"
    teacher_forced = True
    free_running = False

    def fits(self, channel: Channel) -> bool:
        """States at every position."""
        return channel.shows_rows_in_order and not channel.place.cached

    def begin(self, setting: AttackSetting) -> "LookedUp":
        """All states at once; the lens is the same for every release."""
        channel = setting.channel
        lens = lens_of(setting.decoder, channel.place.layer, channel.lengths, setting.seed)
        released = torch.cat(channel.released)
        positions = torch.cat([torch.arange(length) for length in channel.lengths])
        queries = lens.uncorrected(released, positions.to(released.device))
        return LookedUp(channel, lens.rank(queries, 1)[:, 0])


class LookedUp(BaseAttack):
    """Answers found beforehand: of every position of every prompt, in order."""

    compares = False

    def __init__(self, channel: Channel, tokens: Int64[Tensor, " positions"]) -> None:
        self._tokens = torch.split(tokens, list(channel.lengths))

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """What was found there."""
        return Guess.unverified(torch.stack([self._tokens[one][view.position] for one in prompts]))
