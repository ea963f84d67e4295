"""Base classes of release steps: for any of them, and without a draw, by a shared key, by noise."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float
from pytest_injectivity.privacy.releases.noise import Noise
from pytest_injectivity.privacy.releases.protocol import Secret


@dataclass(frozen=True, eq=False)
class BaseRelease(ABC):
    """A release whose receiver takes the rows as they come; a subclass says what is sent.

    Unless it overrides more, nothing is noise, shuffled or secret, and candidates stay as they are.

    Attributes:
        width: number of coordinates of a row.
    """

    width: int

    @property
    def noise(self) -> Noise:
        """No noise."""
        return Noise.none(self.width)

    @property
    def ordered(self) -> bool:
        """Positions keep their order."""
        return True

    @property
    def secret(self) -> Secret:
        """Nothing is secret."""
        return Secret.NOTHING

    @abstractmethod
    def apply(
        self, rows: Float[Tensor, "positions width"], draw: np.random.Generator
    ) -> Float[Tensor, "positions width"]:
        """The rows as they are sent."""

    def undo(
        self,
        released: Float[Tensor, "positions width"],
        draw: np.random.Generator,  # noqa: ARG002 - the protocol's
    ) -> Float[Tensor, "positions width"]:
        """The released rows as they are."""
        return released

    def image(self, candidates: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """A copy of the rows."""
        return candidates.clone()


@dataclass(frozen=True, eq=False)
class DeterministicRelease(BaseRelease):
    """A release without a draw.

    A subclass overrides `image`. What is sent is the image, so an attacker can compute it too.
    """

    def apply(
        self,
        rows: Float[Tensor, "positions width"],
        draw: np.random.Generator,  # noqa: ARG002 - the protocol's
    ) -> Float[Tensor, "positions width"]:
        """The image of the rows."""
        return self.image(rows)


@dataclass(frozen=True, eq=False)
class KeyedRelease(BaseRelease):
    """A release by a key that all prompts share, and that sender and receiver have.

    A subclass says what the key hides, and what `turned` and `turned_back` do by it.

    Attributes:
        seed: the key.
        known: whether an attacker has the key.
    """

    seed: int
    known: bool = False

    hides: ClassVar[Secret]

    @property
    def secret(self) -> Secret:
        """What the key hides, unless it is known."""
        return Secret.NOTHING if self.known else self.hides

    @abstractmethod
    def turned(self, rows: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """The rows by the key."""

    @abstractmethod
    def turned_back(self, rows: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """The rows that `turned` was given."""

    def apply(
        self,
        rows: Float[Tensor, "positions width"],
        draw: np.random.Generator,  # noqa: ARG002 - the seed is the key
    ) -> Float[Tensor, "positions width"]:
        """The rows by the key."""
        return self.turned(rows)

    def undo(
        self,
        released: Float[Tensor, "positions width"],
        draw: np.random.Generator,  # noqa: ARG002 - the seed is the key
    ) -> Float[Tensor, "positions width"]:
        """The rows as they were."""
        return self.turned_back(released)

    def image(self, candidates: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """The candidates by the key where it is known, else as they are."""
        return self.turned(candidates) if self.known else candidates.clone()


@dataclass(frozen=True, eq=False)
class NoiseRelease(BaseRelease):
    """Adds Gaussian noise, drawn independently for every row.

    Attributes:
        added: the law of the noise.
    """

    added: Noise

    @property
    def noise(self) -> Noise:
        """The law of what is added."""
        return self.added

    def apply(
        self, rows: Float[Tensor, "positions width"], draw: np.random.Generator
    ) -> Float[Tensor, "positions width"]:
        """The rows plus a draw of the noise, which is made on the CPU in float64."""
        independent = draw.standard_normal((len(rows), self.width))
        along = draw.standard_normal((len(rows), len(self.added.factor)))
        drawn = (
            torch.from_numpy(independent) * self.added.sigma
            + torch.from_numpy(along) @ self.added.factor
        )
        return (rows.cpu().double() + drawn).to(rows.dtype).to(rows.device)
