"""The known plaintext attacker computes a secret rotation from prompts that it knows.

Of these it has the images, by running them, and what was released of them. The matrix between both is
an orthogonal Procrustes problem or, where it only permutes coordinates, an assignment problem; both are
solved in float64. Then it compares candidates as `argmin` does. In directions that no known row has,
rows are compared by their length alone.

Without a known prompt this attacker is not run. That is no safety: `procrustes` reads such rows by their
norms.

Sources: Schönemann, "A generalized solution of the orthogonal Procrustes problem" (1966); Kuhn, "The
Hungarian method for the assignment problem" (1955). Reading one secret matrix from known plaintext is as
old as Hill's cipher (1929).
"""

from collections.abc import Sequence

import torch

from pytest_injectivity.privacy.attackers.base import AttackSetting, BaseAttack, Guess
from pytest_injectivity.privacy.releases.protocol import Secret
from pytest_injectivity.privacy.search.candidates import Candidates
from pytest_injectivity.privacy.search.channel import Channel, ChannelView
from pytest_injectivity.privacy.search.known_rotation import KnownRotation


class KnownPlaintextAttacker:
    """Answers with the nearest candidate after undoing the rotation that known prompts tell."""

    name = "known plaintext"
    source = "Procrustes: Schönemann 1966; assignment: Kuhn 1955"
    teacher_forced = True
    free_running = True
    remembers = False

    def fits(self, channel: Channel) -> bool:
        """Whether rows are shown in order, rotated by one matrix, and some prompts are known."""
        return channel.shows_rotated_rows and len(channel.known) > 0

    def begin(self, setting: AttackSetting) -> "_KnownPlaintextAttack":
        """Computes the rotation."""
        return _KnownPlaintextAttack(_recovered(setting))


class _KnownPlaintextAttack(BaseAttack):
    def __init__(self, key: KnownRotation) -> None:
        self._key = key

    def look(self, view: ChannelView, prompts: Sequence[int]) -> Guess:
        """The candidate nearest to the row in the directions in which the rotation is known."""
        rows = view.channel.at(prompts, view.position)
        if self._key.is_whole:
            scan = view.whole.candidates.scan(self._key.undone(rows))
        else:
            images = self._key.of_images(view.whole.images)
            scan = Candidates(images, named=view.table.named).scan(self._key.of_rows(rows))
        return Guess.unverified(scan.nearest().tokens[:, 0], scan.ranks)


def _recovered(setting: AttackSetting) -> KnownRotation:
    """The rotation of the images of known prompts into what was released of them."""
    channel = setting.channel
    images, rows = setting.images(channel.known), torch.cat(channel.known.rows).double()
    if channel.release.secret is Secret.PERMUTATION:
        return KnownRotation.of_permuted(images, rows)
    # The length of the noise that falls on one direction of the images, and of rounding.
    error = channel.noise.rms * rows.shape[1] ** 0.5 + max(channel.nu) * len(rows) ** 0.5
    return KnownRotation.of_pairs(images, rows, error)
