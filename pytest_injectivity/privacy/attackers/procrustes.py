"""Rows turned by a secret rotation: matched by what a rotation leaves as it is.

A rotation changes no norm and no inner product, and a permutation of the coordinates is one. So the
first token is known by the norm of its row, and every pair of a row and its image then fixes the
rotation in one more direction: what it is there is the solution of the orthogonal Procrustes
problem (Schönemann, 1966). In the directions that are known rows are compared with images
coordinate by coordinate, and in all others together by their length. One key for all prompts is
learned from all of them.

Source: that released Gram matrices give inputs away whatever the mixing matrix is, is named as the
attack to defend against in "Good-Enough LLM Obfuscation (GELO)", arXiv 2603.05035; the sequential
use here is ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64
from pytest_injectivity.privacy.attackers.base import AttackSetting, BaseAttack, Guess
from pytest_injectivity.privacy.search.candidates import Candidates
from pytest_injectivity.privacy.search.channel import Channel, ChannelView

# Of the largest singular value: what rounding in float64 leaves.
_NOTHING = 1e-12
# After the last position.
_END = 2**31


class ProcrustesAttacker:
    """Norms first, then more and more of the rotation."""

    name = "procrustes"
    source = "Gram matrices: GELO, arXiv 2603.05035; Procrustes: Schönemann 1966"
    teacher_forced = True
    free_running = True

    def fits(self, channel: Channel) -> bool:
        """All positions in their places, turned."""
        return channel.place.everywhere and channel.release.ordered and channel.hides_rotation

    def begin(self, setting: AttackSetting) -> "_ProcrustesAttack":
        """Learns the rotation as it goes."""
        return _ProcrustesAttack(setting)


@dataclass(frozen=True, eq=False)
class KnownRotation:
    """The directions in which the rotation is known, before it and after it."""

    before: Float64[Tensor, "width known"]
    after: Float64[Tensor, "width known"]

    def of_images(self, images: Float[Tensor, "rows width"]) -> Float64[Tensor, "rows seen"]:
        """An image's coordinates in the known directions, and the length of the rest."""
        return _seen(images.double(), self.before)

    def of_rows(self, rows: Float[Tensor, "rows width"]) -> Float64[Tensor, "rows seen"]:
        """The same of released rows: of a row and its own image they are equal."""
        return _seen(rows.double(), self.after)


class _ProcrustesAttack(BaseAttack):
    def __init__(self, setting: AttackSetting) -> None:
        self._channel = setting.channel
        width = sum(setting.channel.sides)
        home = setting.channel.released[0].device
        self._products = torch.zeros(width, width, dtype=torch.float64, device=home)
        self._pairs = 0
        self._first = 0
        self._firsts: dict[int, Tensor] = {}
        self._frame = self._found(0)
        self._framed_at = 0

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The token whose image is nearest in what is known of the rotation."""
        self._refresh(view.position)
        for prompt in prompts:
            # One table serves all prompts here; others are not kept.
            if prompt not in self._firsts:
                self._first = view.position
                self._firsts[prompt] = view.images
        targets = self._channel.at(prompts, view.position)
        return Guess.unverified(self._nearest(view.images, targets))

    def settle(self, prompt: int, tokens: list[int]) -> list[int]:
        """The first token once more: only its norm was known when it was looked at."""
        self._refresh(_END)
        first = self._channel.at([prompt], self._first)
        return [int(self._nearest(self._firsts[prompt], first)[0]), *tokens[1:]]

    def _nearest(
        self, images: Float[Tensor, "vocab width"], rows: Float[Tensor, "rows width"]
    ) -> Tensor:
        frame = self._frame
        return Candidates(frame.of_images(images)).nearest(frame.of_rows(rows)).tokens[:, 0]

    def _refresh(self, position: int) -> None:
        """Looks at the pairs again, once a position."""
        if self._framed_at != position:
            self._frame, self._framed_at = self._found(position), position

    def follow(self, view: ChannelView, prompts: Sequence[int], tokens: Sequence[int]) -> None:
        """Pairs: the image of each token, and the row that was released."""
        images = view.images[list(tokens)].double()
        self._products += images.T @ self._channel.at(prompts, view.position).double()
        self._pairs += len(prompts)

    def _found(self, position: int) -> KnownRotation:
        """Directions in which the pairs say more than noise and rounding do."""
        before, sizes, after = torch.linalg.svd(self._products)
        longest = float(sizes[0]) ** 0.5
        width = len(sizes)
        noise = 2 * self._channel.noise.rms * width**0.5
        noise += self._channel.floor(position) * self._pairs**0.5
        known = int((sizes > longest * noise + _NOTHING * float(sizes[0])).sum())
        return KnownRotation(before[:, :known], after[:known].T)


def _seen(
    rows: Float64[Tensor, "rows width"], known: Float64[Tensor, "width known"]
) -> Float64[Tensor, "rows seen"]:
    along = rows @ known
    rest = rows.square().sum(dim=1) - along.square().sum(dim=1)
    return torch.cat([along, rest.clamp(min=0.0).sqrt()[:, None]], dim=1)
