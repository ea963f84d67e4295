"""The span attacker reads positions that were mixed by fresh secret matrices.

Whatever invertible matrix mixes the rows of a prompt, what is released spans the same space as the rows
do. A prompt has fewer rows than coordinates, so few candidates lie in that space. Beside the directions
of the tokens before, which lie in it too, each candidate has a part of its own: the one whose part lies
in the space most nearly is the answer. No row is separated from the others, and nothing is learned from
other prompts. Where a prompt, or a batch mixed as one, has as many rows as coordinates, the space is
everything and nothing can be read in this way.

Source: "Good-Enough LLM Obfuscation" (GELO), arXiv 2603.05035, defends such mixing against independent
component analysis and known anchors, which separate rows without candidates. Comparing the candidates of
the one-step map (arXiv 2510.15511) with the space of the rows is this package's.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64
from pytest_injectivity.privacy.attackers.base import Guess, PositionwiseAttacker, ranks_of
from pytest_injectivity.privacy.releases.protocol import Secret
from pytest_injectivity.privacy.search.channel import Channel, ChannelView


class SpanAttacker(PositionwiseAttacker):
    """Answers with the candidate that lies in the space of the released rows most nearly."""

    name = "span"
    source = "this package, against GELO's mixing, arXiv 2603.05035"
    free_running = True

    def fits(self, channel: Channel) -> bool:
        """Whether all positions are released, mixed, and fewer than coordinates."""
        mixed = channel.release.secret is Secret.MIXED_POSITIONS
        sent = max(map(len, channel.released))
        return mixed and channel.place.everywhere and sent < sum(channel.sides)

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The candidate whose part of its own is outside of the space by the smallest share."""
        view = view.whole
        images, least = view.images.double(), view.channel.floor(view.position) ** 2
        # A token that repeats all those before it, as a first one does, has no part of its own.
        own = _outside(images, view.before).clamp(min=least)
        outside = [_outside(images, view.channel.released[prompt]) for prompt in prompts]
        share = (torch.stack(outside) + least) / own
        if view.candidates.found is not None:
            share = share.masked_fill(~view.candidates.found, torch.inf)
        share = torch.where(share.isnan(), torch.inf, share)
        return Guess.unverified(share.argmin(dim=1), partial(ranks_of, -share))


def _outside(
    rows: Float64[Tensor, "rows width"], space: Float[Tensor, "some width"]
) -> Float64[Tensor, " rows"]:
    """The squared length of what each row has outside of the space that others span."""
    directions: Tensor = torch.linalg.qr(space.double().T)[0]
    return (rows.square().sum(dim=1) - (rows @ directions).square().sum(dim=1)).clamp(min=0.0)
