"""The Gram attacker reads coordinates that were mixed by fresh secret matrices.

An orthogonal matrix, however fresh, leaves the inner products of a prompt's rows as they are. The first
token is found by the norm of its row, and each later one by its norm and its inner products with the
rows before it: they are the coordinates of a candidate in the directions of these rows. A matrix that
is not orthogonal changes inner products, and the attack fails as far as it does.

Source: "Good-Enough LLM Obfuscation" (GELO), arXiv 2603.05035: Gram matrices reveal inputs whatever
orthogonal matrix mixes them; tokens that are known are its anchors.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Int64
from pytest_injectivity.privacy.attackers.base import Guess, PositionwiseAttacker
from pytest_injectivity.privacy.releases.protocol import Secret
from pytest_injectivity.privacy.search.candidates import Candidates, Scan
from pytest_injectivity.privacy.search.channel import Channel, ChannelView
from pytest_injectivity.privacy.search.known_rotation import KnownRotation


class GramAttacker(PositionwiseAttacker):
    """Answers with the candidate of the row's norm, and of its inner products with the rows before."""

    name = "gram"
    source = "Gram matrices: GELO, arXiv 2603.05035"
    free_running = True

    def fits(self, channel: Channel) -> bool:
        """Whether all positions are released in order, with their coordinates mixed."""
        mixed = channel.release.secret is Secret.MIXED_COORDINATES
        return mixed and channel.place.everywhere and channel.release.ordered

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The token whose image has the norm and the inner products of the row."""
        scans = [self._scan(view.whole, prompt) for prompt in prompts]
        found = [scan.nearest().tokens[:, 0] for scan in scans]

        def ranks(tokens: Int64[Tensor, " prompts"]) -> Int64[Tensor, " prompts"]:
            each = torch.split(tokens, 1)
            return torch.cat([scan.ranks(own) for scan, own in zip(scans, each, strict=True)])

        return Guess.unverified(torch.cat(found), ranks)

    def _scan(self, view: ChannelView, prompt: int) -> Scan:
        """The row compared with all candidates."""
        before, rows = view.before.double(), view.channel.released[prompt].double()
        # The rows before show the prompt's own matrix in their directions, down to noise and rounding.
        error = view.channel.noise.rms * rows.shape[1] ** 0.5 + view.channel.floor(view.position)
        known = KnownRotation.of_pairs(before, rows[: len(before)], error)
        candidates = Candidates(known.of_images(view.images), named=view.table.named)
        return candidates.scan(known.of_rows(rows[len(before)][None]))
