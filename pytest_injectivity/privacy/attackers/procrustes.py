"""The Procrustes attacker reads rows that were multiplied by a secret orthogonal matrix.

Such a matrix changes no norm and no inner product. The first token is found by the norm of its row.
Every pair of a row and its image then determines the matrix in one more direction, by the orthogonal
Procrustes problem (Schönemann, 1966). In the known directions rows are compared with images by their
coordinates, and in all other directions together by their length. All prompts share one matrix, which is
learned from all of them. A permutation of the coordinates is an orthogonal matrix too. No prompt needs
to be known beforehand; where some are, `known_plaintext` computes the matrix from them.

The first position is answered again in the end, and a matrix that was learned from its own pair would
fit that pair best, whatever is released. So it is learned from the pairs of later positions and from the
first pairs of every other prompt.

Source: "Good-Enough LLM Obfuscation (GELO)", arXiv 2603.05035, names the attack to defend against:
released Gram matrices reveal inputs whatever the mixing matrix is. The sequential use is this package's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64
from pytest_injectivity.privacy.attackers.base import AttackSetting, BaseAttack, Guess
from pytest_injectivity.privacy.search.candidates import Candidates
from pytest_injectivity.privacy.search.channel import Channel, ChannelView
from pytest_injectivity.privacy.search.known_rotation import KnownRotation
from pytest_injectivity.privacy.search.padding import named_tokens

# Singular values below this share of the largest are rounding of float64.
_NOTHING = 1e-12
# Stands for a position after the last.
_END = 2**31
# Stands for all prompts, beside 0 and 1: what is learned for every other prompt.
_ALL = 2


class ProcrustesAttacker:
    """Compares norms first, then coordinates in the directions where the rotation is known."""

    name = "procrustes"
    source = "Gram matrices: GELO, arXiv 2603.05035; Procrustes: Schönemann 1966"
    teacher_forced = True
    free_running = True
    remembers = True

    def fits(self, channel: Channel) -> bool:
        """Whether all positions are released in order, rotated by a secret matrix."""
        return channel.shows_rotated_rows

    def begin(self, setting: AttackSetting) -> "_ProcrustesAttack":
        """Begins an attack that learns the rotation from its answers."""
        return _ProcrustesAttack(setting)


class _ProcrustesAttack(BaseAttack):
    def __init__(self, setting: AttackSetting) -> None:
        self._channel = setting.channel
        width, home = sum(setting.channel.sides), setting.channel.released[0].device
        self._later = _Pairs.none(width, home)
        # Of the first position, those of every other prompt each.
        self._first_pairs = [_Pairs.none(width, home), _Pairs.none(width, home)]
        self._first = 0
        self._named = named_tokens(setting.decoder)
        self._firsts: dict[int, Tensor] = {}
        self._frames: dict[int, KnownRotation] = {}
        self._framed_at = -1

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The token whose image is nearest in the known directions."""
        self._refresh(view.position)
        for prompt in prompts:
            # The images of the first position, which all prompts share, are kept for `settle`.
            if prompt not in self._firsts:
                self._first = view.position
                self._firsts[prompt] = view.whole.images
        if _ALL not in self._frames:
            every = self._later.joined(self._first_pairs[0]).joined(self._first_pairs[1])
            self._frames[_ALL] = self._found(every, view.position)
        targets = self._channel.at(prompts, view.position)
        return Guess.unverified(self._nearest(_ALL, view.whole.images, targets))

    def settle(self, prompt: int, tokens: list[int]) -> list[int]:
        """Answers the first position again: only norms could be compared when it was asked for."""
        self._refresh(_END)
        half = prompt % 2
        if half not in self._frames:
            others = self._later.joined(self._first_pairs[1 - half])
            self._frames[half] = self._found(others, _END)
        first = self._channel.at([prompt], self._first)
        return [int(self._nearest(half, self._firsts[prompt], first)[0]), *tokens[1:]]

    def _nearest(
        self, learned: int, images: Float[Tensor, "vocab width"], rows: Float[Tensor, "rows width"]
    ) -> Tensor:
        frame = self._frames[learned]
        candidates = Candidates(frame.of_images(images), named=self._named)
        return candidates.nearest(frame.of_rows(rows)).tokens[:, 0]

    def _refresh(self, position: int) -> None:
        """Forgets the known directions, once a position."""
        if self._framed_at != position:
            self._frames, self._framed_at = {}, position

    def follow(self, view: ChannelView, prompts: Sequence[int], tokens: Sequence[int]) -> None:
        """Adds the pairs of each token's image and the released row."""
        images = view.whole.images[list(tokens)].double()
        rows = self._channel.at(prompts, view.position).double()
        if view.position != self._first:
            self._later = self._later.with_pairs(images, rows)
            return
        for half, held in enumerate(self._first_pairs):
            own = [at for at, prompt in enumerate(prompts) if prompt % 2 == half]
            self._first_pairs[half] = held.with_pairs(images[own], rows[own])

    def _found(self, pairs: "_Pairs", position: int) -> KnownRotation:
        """The directions in which the pairs exceed noise and rounding."""
        before, sizes, after = torch.linalg.svd(pairs.products)
        longest = float(sizes[0]) ** 0.5
        width = len(sizes)
        noise = 2 * self._channel.noise.rms * width**0.5
        noise += self._channel.floor(position) * pairs.count**0.5
        known = int((sizes > longest * noise + _NOTHING * float(sizes[0])).sum())
        return KnownRotation(before[:, :known], after[:known].T)


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Images and the rows released of them.

    Attributes:
        products: the sum of the outer products of each image and its row.
        count: how many there are.
    """

    products: Float64[Tensor, "width width"]
    count: int

    @classmethod
    def none(cls, width: int, device: torch.device) -> "_Pairs":
        """No pair yet."""
        return cls(torch.zeros(width, width, dtype=torch.float64, device=device), 0)

    def joined(self, other: "_Pairs") -> "_Pairs":
        """The pairs of both."""
        return _Pairs(self.products + other.products, self.count + other.count)

    def with_pairs(
        self, images: Float64[Tensor, "pairs width"], rows: Float64[Tensor, "pairs width"]
    ) -> "_Pairs":
        """These pairs and further ones."""
        return self.joined(_Pairs(images.T @ rows, len(images)))
