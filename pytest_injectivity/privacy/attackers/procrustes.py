"""The Procrustes attacker reads rows that were multiplied by a secret orthogonal matrix.

Such a matrix changes no norm and no inner product. The first token is found by the norm of its row.
Every pair of a row and its image then determines the matrix in one more direction, by the orthogonal
Procrustes problem (Schönemann, 1966). In the known directions rows are compared with images by their
coordinates, and in all other directions together by their length. All prompts share one matrix, which is
learned from all of them. A permutation of the coordinates is an orthogonal matrix too. No prompt needs
to be known beforehand; where some are, `known_plaintext` computes the matrix from them.

Source: "Good-Enough LLM Obfuscation (GELO)", arXiv 2603.05035, names the attack to defend against:
released Gram matrices reveal inputs whatever the mixing matrix is. The sequential use is this package's.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float
from pytest_injectivity.privacy.attackers.base import AttackSetting, BaseAttack, Guess
from pytest_injectivity.privacy.search.candidates import Candidates
from pytest_injectivity.privacy.search.channel import Channel, ChannelView
from pytest_injectivity.privacy.search.known_rotation import KnownRotation
from pytest_injectivity.privacy.search.padding import named_tokens

# Singular values below this share of the largest are rounding of float64.
_NOTHING = 1e-12
# Stands for a position after the last.
_END = 2**31


class ProcrustesAttacker:
    """Compares norms first, then coordinates in the directions where the rotation is known."""

    name = "procrustes"
    source = "Gram matrices: GELO, arXiv 2603.05035; Procrustes: Schönemann 1966"
    teacher_forced = True
    free_running = True

    def fits(self, channel: Channel) -> bool:
        """Whether all positions are released in order, rotated by a secret matrix."""
        return channel.shows_rotated_rows

    def begin(self, setting: AttackSetting) -> "_ProcrustesAttack":
        """Begins an attack that learns the rotation from its answers."""
        return _ProcrustesAttack(setting)


class _ProcrustesAttack(BaseAttack):
    def __init__(self, setting: AttackSetting) -> None:
        self._channel = setting.channel
        width = sum(setting.channel.sides)
        home = setting.channel.released[0].device
        self._products = torch.zeros(width, width, dtype=torch.float64, device=home)
        self._pairs = 0
        self._first = 0
        self._named = named_tokens(setting.decoder)
        self._firsts: dict[int, Tensor] = {}
        self._frame = self._found(0)
        self._framed_at = 0

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The token whose image is nearest in the known directions."""
        self._refresh(view.position)
        for prompt in prompts:
            # The images of the first position, which all prompts share, are kept for `settle`.
            if prompt not in self._firsts:
                self._first = view.position
                self._firsts[prompt] = view.whole.images
        targets = self._channel.at(prompts, view.position)
        return Guess.unverified(self._nearest(view.whole.images, targets))

    def settle(self, prompt: int, tokens: list[int]) -> list[int]:
        """Answers the first position again: only norms could be compared when it was asked for."""
        self._refresh(_END)
        first = self._channel.at([prompt], self._first)
        return [int(self._nearest(self._firsts[prompt], first)[0]), *tokens[1:]]

    def _nearest(
        self, images: Float[Tensor, "vocab width"], rows: Float[Tensor, "rows width"]
    ) -> Tensor:
        frame = self._frame
        candidates = Candidates(frame.of_images(images), named=self._named)
        return candidates.nearest(frame.of_rows(rows)).tokens[:, 0]

    def _refresh(self, position: int) -> None:
        """Computes the known directions again, once a position."""
        if self._framed_at != position:
            self._frame, self._framed_at = self._found(position), position

    def follow(self, view: ChannelView, prompts: Sequence[int], tokens: Sequence[int]) -> None:
        """Adds the pairs of each token's image and the released row."""
        images = view.whole.images[list(tokens)].double()
        self._products += images.T @ self._channel.at(prompts, view.position).double()
        self._pairs += len(prompts)

    def _found(self, position: int) -> KnownRotation:
        """The directions in which the pairs exceed noise and rounding."""
        before, sizes, after = torch.linalg.svd(self._products)
        longest = float(sizes[0]) ** 0.5
        width = len(sizes)
        noise = 2 * self._channel.noise.rms * width**0.5
        noise += self._channel.floor(position) * self._pairs**0.5
        known = int((sizes > longest * noise + _NOTHING * float(sizes[0])).sum())
        return KnownRotation(before[:, :known], after[:known].T)
