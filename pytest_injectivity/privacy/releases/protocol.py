"""What is sent across a cut, and what of it an attacker knows (SPEC section 5).

A release acts on the rows that one prompt gives away: ``(positions, width)``, a state a position, or a
layer's keys and values (``observed``). `Release.apply` is the sender's side, with its secret draw;
`Release.undo` the receiver's, which shares that draw as a key: without it a rotation would have no
utility by construction.

An attacker knows the weights and the release, not the draw. What can be known is said by the release
itself, so that no attacker asks which one it is held against:

- ``image``: what the release makes of a candidate's row, its secret draw left out;
- ``noise``: the law of what the draw adds to that image;
- ``ordered``: False where the draw also shuffles the positions;
- ``secret``: whether image and release differ, besides, by an unknown rotation of all rows.

::

    released = release.apply(rows, draws(seed, prompt))
    nearest = argmin over candidates of ||released[t] - release.image(candidates)||
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64


class Secret(StrEnum):
    """What an attacker does not know of a release beside the noise and the order."""

    NOTHING = "nothing"
    ROTATION = "rotation"
    """Released rows are images times one orthogonal matrix, the same for all prompts: norms and
    inner products are those of the images."""


@dataclass(frozen=True, eq=False)
class Noise:
    """The law of additive Gaussian noise: covariance ``diag(sigma^2) + factor^T factor``.

    Attributes:
        sigma: standard deviation of the independent part of each coordinate; zeros: none.
        factor: further directions of noise, each as long as its standard deviation; may have no row.
    """

    sigma: Float64[Tensor, " width"]
    factor: Float64[Tensor, "rank width"]

    @classmethod
    def none(cls, width: int) -> "Noise":
        """No noise."""
        return cls.isotropic(width, 0.0)

    @classmethod
    def isotropic(cls, width: int, sigma: float) -> "Noise":
        """The same in every direction."""
        zeros = torch.zeros(width, dtype=torch.float64)
        return cls(zeros + sigma, torch.zeros(0, width, dtype=torch.float64))

    @property
    def is_none(self) -> bool:
        """Nothing is added."""
        return not bool(self.sigma.any()) and not bool(self.factor.any())

    @property
    def is_isotropic(self) -> bool:
        """As large in every direction (or none): Euclidean distances rank candidates as it does."""
        return not bool(self.factor.any()) and bool((self.sigma == self.sigma[0]).all())

    @property
    def rms(self) -> float:
        """Root mean square of what is added to a coordinate."""
        total = float(self.sigma.square().sum() + self.factor.square().sum())
        return math.sqrt(total / len(self.sigma))

    def joined(self, other: "Noise") -> "Noise":
        """Both, drawn independently."""
        return Noise(
            (self.sigma.square() + other.sigma.square()).sqrt(),
            torch.cat([self.factor, other.factor]),
        )

    def covariance(self, nu: float = 0.0) -> Float64[Tensor, "width width"]:
        """The covariance, and ``nu^2 I`` on top for how far two evaluations of a row may differ."""
        return self.factor.T @ self.factor + torch.diag(self.sigma.square() + nu**2)


@runtime_checkable
class Release(Protocol):
    """What is sent: ``(positions, width)`` rows in, rows of the same shape out.

    Rows are finite, in the dtype and on the device the model computed them in; none is changed in
    place.

    Attributes:
        noise: what the draw adds to the image, as an attacker knows it: its law.
        ordered: whether row t of what is released is position t's.
        secret: what else the draw hides.
    """

    @property
    def noise(self) -> Noise: ...  # noqa: D102 - said above

    @property
    def ordered(self) -> bool: ...  # noqa: D102

    @property
    def secret(self) -> Secret: ...  # noqa: D102

    def apply(
        self, rows: Float[Tensor, "positions width"], draw: np.random.Generator
    ) -> Float[Tensor, "positions width"]:
        """What the sender sends of one prompt.

        Args:
            rows: of the positions that are observed.
            draw: the sender's secret; everything random comes from it.
        """
        ...

    def undo(
        self, released: Float[Tensor, "positions width"], draw: np.random.Generator
    ) -> Float[Tensor, "positions width"]:
        """What the receiver makes of it: the rows themselves where it cannot tell more.

        Args:
            released: of one prompt.
            draw: as `apply` was given it, from its beginning: the key that both sides share.
        """
        ...

    def image(
        self, candidates: Float[Tensor, "candidates width"]
    ) -> Float[Tensor, "candidates width"]:
        """What an attacker can compute of the release of each row by itself: no secret draw."""
        ...


def draws(seed: int, ids: Sequence[int]) -> np.random.Generator:
    """The secret draw of one prompt, the same for every release and strength.

    Common random numbers: two strengths of one noise differ by their strength, not by their luck.

    Args:
        seed: of the audit.
        ids: the prompt; its place in the prompt set does not matter.
    """
    digest = hashlib.sha256(np.asarray(ids, dtype="<i8").tobytes()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, dtype="<u4").tolist()])
