"""What a release does to the rows of a prompt, and what an attacker knows of it (SPEC section 5).

A release acts on the rows observed of one prompt, ``(positions, width)``: a state a position, or a
layer's keys and values (`observed`). `Release.apply` is the sender's side and uses a secret draw.
`Release.undo` is the receiver's side and has the same draw as a key: without it a rotation would be of
no use to its receiver.

An attacker knows the model's weights and the release but not the draw. The release itself says what can
be known, so that no attacker has to ask for particular releases:

- ``image``: what the release makes of a candidate's row, without the secret draw;
- ``noise``: the law of what the draw adds to that image;
- ``ordered``: False where the draw also shuffles the positions;
- ``secret``: which unknown matrix released rows are, besides, images times.

::

    released = release.apply(rows, draws(seed, prompt))
    nearest = argmin over candidates of ||released[t] - release.image(candidates)||
"""

import hashlib
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from pytest_injectivity.core.shapes import Float
from pytest_injectivity.privacy.releases.noise import Noise


class Secret(StrEnum):
    """What an attacker does not know of a release, apart from the noise and the order."""

    NOTHING = "nothing"
    PERMUTATION = "permutation"
    """The coordinates of released rows are those of images in one order, the same for all prompts."""
    ROTATION = "rotation"
    """Released rows are images times one orthogonal matrix, the same for all prompts: norms and
    inner products are those of the images."""

    MIXED_COORDINATES = "mixed coordinates"
    """Released rows are images times a matrix drawn for each prompt: inner products of a prompt's rows
    are those of its images, or near them."""
    MIXED_POSITIONS = "mixed positions"
    """Released rows are combinations of the images of a prompt, or of a batch of prompts, by a matrix
    drawn for each prompt."""
    SEVERAL = "several"
    """Positions are mixed, and coordinates hidden as well."""

    @classmethod
    def joined(cls, secrets: Iterable["Secret"]) -> "Secret":
        """What several steps hide together: a permutation of coordinates is an orthogonal matrix too."""
        hidden = {secret for secret in secrets if secret is not cls.NOTHING}
        if cls.MIXED_POSITIONS in hidden and len(hidden) > 1:
            return cls.SEVERAL
        return max(hidden, key=list(cls).index, default=cls.NOTHING)

    @property
    def is_shared(self) -> bool:
        """Whether prompts share a matrix, so that nobody can practise it."""
        return self in {Secret.PERMUTATION, Secret.ROTATION, Secret.SEVERAL}

    @property
    def mixes_positions(self) -> bool:
        """Whether rows are combined, so that there may be more of them than positions."""
        return self in {Secret.MIXED_POSITIONS, Secret.SEVERAL}


@runtime_checkable
class Release(Protocol):
    """Takes ``(positions, width)`` rows and gives rows of the same shape, or more where it mixes them.

    Rows are finite, and in the dtype and on the device that the model computed them in. A release
    changes none of them in place.

    Attributes:
        noise: the law of what the draw adds to the image.
        ordered: whether released row t is that of position t.
        secret: what else the draw hides.
    """

    @property
    def noise(self) -> Noise: ...  # noqa: D102 - described above

    @property
    def ordered(self) -> bool: ...  # noqa: D102 - described above

    @property
    def secret(self) -> Secret: ...  # noqa: D102 - described above

    def apply(
        self, rows: Float[Tensor, "positions width"], draw: np.random.Generator
    ) -> Float[Tensor, "sent width"]:
        """What the sender sends of one prompt.

        Args:
            rows: the rows of the observed positions.
            draw: the sender's secret; everything random comes from it.
        """
        ...

    def undo(
        self, released: Float[Tensor, "sent width"], draw: np.random.Generator
    ) -> Float[Tensor, "positions width"]:
        """What the receiver makes of the released rows; the rows as they came if it can do no more.

        Args:
            released: the rows of one prompt, as `apply` gave them.
            draw: a generator in the state in which `apply` was given it.
        """
        ...

    def image(
        self, candidates: Float[Tensor, "candidates width"]
    ) -> Float[Tensor, "candidates width"]:
        """What an attacker can compute of the release of each row by itself, without the secret draw."""
        ...


def draws(seed: int, ids: Sequence[int]) -> np.random.Generator:
    """The secret draw of one prompt.

    It depends on the seed and the prompt alone, not on the release or its strength (common random
    numbers): two strengths of one noise differ by their strength and by nothing else.

    Args:
        seed: seed of the audit.
        ids: token ids of the prompt; its place in the prompt set does not matter.
    """
    digest = hashlib.sha256(np.asarray(ids, dtype="<i8").tobytes()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, dtype="<u4").tolist()])
