"""The collision attacker reads a shared KV cache (keys, values or both) token by token.

Source: Luo et al., "Shadow in the Cache: Unveiling and Mitigating Privacy Risks of KV-cache in LLM
Inference" (arXiv 2508.09442, NDSS 2026): each candidate token is run after the tokens found so far,
and the one whose key and value come nearest is taken. This version compares the whole vocabulary instead
of stopping at an outlier, and divides the distances of each side by their median: keys are several times
as long as values and would decide alone.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Int64
from pytest_injectivity.inversion.one_step import distances_from_each
from pytest_injectivity.privacy.attackers.base import Guess, PositionwiseAttacker, ranks_of
from pytest_injectivity.privacy.search.channel import Channel, ChannelView


class KvCollisionAttacker(PositionwiseAttacker):
    """Answers with the candidate whose keys and values are nearest, each in a unit of its own.

    Args:
        block_elements: distances held at once.
    """

    name = "collision"
    source = "Shadow in the Cache: Luo et al., arXiv 2508.09442"
    free_running = True

    def __init__(self, block_elements: int = 2**23) -> None:
        self.block_elements = block_elements

    def fits(self, channel: Channel) -> bool:
        """Whether keys or values are shown in order at every position."""
        return channel.shows_rows_in_order and channel.place.cached

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The candidate with the smallest sum of relative distances."""
        view = view.whole
        sides = list(view.channel.sides)
        images = torch.split(view.images, sides, dim=1)
        rows = view.channel.at(prompts, view.position)
        blocks = torch.split(rows, max(1, self.block_elements // len(view.images)))
        away = partial(self._away, view, images)
        answers = [away(torch.split(some, sides, dim=1)).argmin(dim=1) for some in blocks]

        def ranks(tokens: Int64[Tensor, " prompts"]) -> Int64[Tensor, " prompts"]:
            parts = torch.split(tokens, len(blocks[0]))
            found = [
                ranks_of(-away(torch.split(some, sides, dim=1)), own)
                for some, own in zip(blocks, parts, strict=True)
            ]
            return torch.cat(found)

        return Guess.unverified(torch.cat(answers), ranks)

    def _away(
        self, view: ChannelView, images: Sequence[Tensor], targets: Sequence[Tensor]
    ) -> Float[Tensor, "rows vocab"]:
        """The sum of relative distances of each candidate."""
        away = []
        for image, target in zip(images, targets, strict=True):
            distances = distances_from_each(image, target)
            unit = distances.median(dim=1, keepdim=True).values
            away.append(distances / torch.where(unit > 0, unit, 1.0))
        total = torch.stack(away).sum(dim=0)
        if (named := view.table.named) is not None:
            total[:, ~named.to(total.device)] = torch.inf
        return total
