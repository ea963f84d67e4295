"""Attackers by a single look: they compare a state with fixed vectors and run no candidate.

They are the weakest attackers and the cheapest: one compares states with embedding rows, one with the
signatures of a lens.

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
    """Answers with the token whose embedding row has the largest cosine with the state."""

    name = "embedding"
    source = "a baseline of Qu et al., arXiv 2503.09022"
    teacher_forced = True
    free_running = False

    def fits(self, channel: Channel) -> bool:
        """Whether states are shown in order at every position."""
        return channel.shows_rows_in_order and not channel.place.cached

    def begin(self, setting: AttackSetting) -> "LookedUp":
        """Answers all positions at once."""
        embeddings = setting.decoder.embedding_matrix().nan_to_num()
        rows = normalize(setting.channel.release.image(embeddings).float(), dim=1)
        released = torch.cat(setting.channel.released).to(rows)
        return LookedUp(setting.channel, (normalize(released, dim=1) @ rows.T).argmax(dim=1))


class LensAttacker:
    """Answers with the token that a lens of the layer ranks first."""

    name = "lens"
    source = "this package: one look of a linear forward model"
    teacher_forced = True
    free_running = False

    def fits(self, channel: Channel) -> bool:
        """Whether states are shown in order at every position."""
        return channel.shows_rows_in_order and not channel.place.cached

    def begin(self, setting: AttackSetting) -> "LookedUp":
        """Answers all positions at once, with one lens for all releases."""
        channel = setting.channel
        lens = lens_of(setting.decoder, channel.place.layer, channel.lengths, setting.seed)
        released = torch.cat(channel.released)
        positions = torch.cat([torch.arange(length) for length in channel.lengths])
        queries = lens.uncorrected(released, positions.to(released.device))
        return LookedUp(channel, lens.rank(queries, 1)[:, 0])


class LookedUp(BaseAttack):
    """An attack whose answers are known from the beginning.

    Args:
        channel: the channel attacked.
        tokens: the answers for all positions of all prompts, in order.
    """

    compares = False

    def __init__(self, channel: Channel, tokens: Int64[Tensor, " positions"]) -> None:
        self._tokens = torch.split(tokens, list(channel.lengths))

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The answers at this position."""
        return Guess.unverified(torch.stack([self._tokens[one][view.position] for one in prompts]))
