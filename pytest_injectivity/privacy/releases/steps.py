"""The releases that the grammar has a step for (SPEC section 5).

Each is a `Release` of rows of one width. A deterministic release is its own image. A random one says
which law its draw follows (noise, order, a rotation) and draws from the generator it is given.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64, Int64
from pytest_injectivity.privacy.releases.protocol import Noise, Secret
from pytest_injectivity.quantization.arithmetic import scale_of
from pytest_injectivity.quantization.grid import Grid


@dataclass(frozen=True, eq=False)
class DeterministicRelease:
    """A release without a draw that its receiver takes as it is.

    Attributes:
        width: coordinates of a row.
    """

    width: int

    @property
    def noise(self) -> Noise:
        """None."""
        return Noise.none(self.width)

    @property
    def ordered(self) -> bool:
        """Positions stay."""
        return True

    @property
    def secret(self) -> Secret:
        """Nothing is hidden."""
        return Secret.NOTHING

    def apply(
        self,
        rows: Float[Tensor, "positions width"],
        draw: np.random.Generator,  # noqa: ARG002 - the protocol's
    ) -> Float[Tensor, "positions width"]:
        """The image of the rows."""
        return self.image(rows)

    def undo(
        self,
        released: Float[Tensor, "positions width"],
        draw: np.random.Generator,  # noqa: ARG002 - the protocol's
    ) -> Float[Tensor, "positions width"]:
        """What was sent."""
        return released

    def image(self, candidates: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """The rows themselves: the identity."""
        return candidates.clone()


class IdentityRelease(DeterministicRelease):
    """Sends rows as they are: what an attack on anything else is measured by."""


@dataclass(frozen=True, eq=False)
class RoundRelease(DeterministicRelease):
    """Uniform rounding, symmetric about zero, one scale a row, which is sent along (SPEC section 2).

    Not one a layer: a row's own is what a sender can do token by token, and what an attacker can do
    to a candidate.
    """

    bits: int

    def image(self, candidates: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """Each row on its own grid; a row of zeros stays."""
        scale = scale_of(candidates, Grid(self.bits, per="token"))
        return scale.values(scale.codes(candidates)).to(candidates.dtype)


@dataclass(frozen=True, eq=False)
class TopKRelease(DeterministicRelease):
    """Keeps the largest coordinates of each row by magnitude, and sends zeros for the others."""

    kept: int

    def image(self, candidates: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """What is kept of each row."""
        largest = _largest(candidates.abs(), self.kept)
        lost = torch.ones_like(candidates, dtype=torch.bool).scatter_(1, largest, value=False)
        return candidates.masked_fill(lost, 0.0)


@dataclass(frozen=True, eq=False)
class CastRelease(DeterministicRelease):
    """Another floating dtype and back; 8 bits with one scale a row, so that nothing overflows."""

    dtype: torch.dtype

    def image(self, candidates: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """What is left of the digits."""
        if self.dtype.itemsize > 1:
            return candidates.to(self.dtype).to(candidates.dtype)
        largest = candidates.abs().amax(dim=1, keepdim=True).float()
        scale = torch.where(largest > 0, largest / torch.finfo(self.dtype).max, 1.0)
        cast = (candidates.float() / scale).to(self.dtype)
        return (cast.float() * scale).to(candidates.dtype)


@dataclass(frozen=True, eq=False)
class NoiseRelease(DeterministicRelease):
    """Adds Gaussian noise, drawn afresh for every row."""

    added: Noise

    @property
    def noise(self) -> Noise:
        """What is added."""
        return self.added

    def apply(
        self, rows: Float[Tensor, "positions width"], draw: np.random.Generator
    ) -> Float[Tensor, "positions width"]:
        """The rows and a draw of the noise, which is made on the CPU in float64."""
        independent = draw.standard_normal((len(rows), self.width))
        along = draw.standard_normal((len(rows), len(self.added.factor)))
        drawn = (
            torch.from_numpy(independent) * self.added.sigma
            + torch.from_numpy(along) @ self.added.factor
        )
        return (rows.cpu().double() + drawn).to(rows.dtype).to(rows.device)


@dataclass(frozen=True, eq=False)
class RotateRelease(DeterministicRelease):
    """Turns every row by one orthogonal matrix, which the receiver turns back.

    Attributes:
        seed: the key; the matrix is uniform over all rotations and reflections.
        known: whether an attacker has the key.
    """

    seed: int
    known: bool = False

    @property
    def secret(self) -> Secret:
        """The rotation, unless the key is known."""
        return Secret.NOTHING if self.known else Secret.ROTATION

    def apply(
        self,
        rows: Float[Tensor, "positions width"],
        draw: np.random.Generator,  # noqa: ARG002 - its seed is the key
    ) -> Float[Tensor, "positions width"]:
        """The rows, turned."""
        return _turned(rows, random_rotation(self.width, self.seed))

    def undo(
        self,
        released: Float[Tensor, "positions width"],
        draw: np.random.Generator,  # noqa: ARG002
    ) -> Float[Tensor, "positions width"]:
        """The rows, turned back."""
        return _turned(released, random_rotation(self.width, self.seed).T)

    def image(self, candidates: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """The candidates, turned where the key is known."""
        if not self.known:
            return candidates.clone()
        return _turned(candidates, random_rotation(self.width, self.seed))


class PermuteRelease(DeterministicRelease):
    """Shuffles the positions of each prompt; the receiver, who has the key, puts them back."""

    @property
    def ordered(self) -> bool:
        """Positions do not stay."""
        return False

    def apply(
        self, rows: Float[Tensor, "positions width"], draw: np.random.Generator
    ) -> Float[Tensor, "positions width"]:
        """The rows in an order drawn for the prompt."""
        return rows[draw.permutation(len(rows)).tolist()]

    def undo(
        self, released: Float[Tensor, "positions width"], draw: np.random.Generator
    ) -> Float[Tensor, "positions width"]:
        """The rows in their own order."""
        return released[np.argsort(draw.permutation(len(released))).tolist()]


def random_rotation(width: int, seed: int) -> Float64[Tensor, "width width"]:
    """An orthogonal matrix drawn uniformly: Q of a Gaussian matrix, with R's diagonal positive."""
    drawn = np.random.default_rng(seed).standard_normal((width, width))
    q, r = torch.linalg.qr(torch.from_numpy(drawn))
    found: Tensor = q * r.diagonal().sign()
    return found


def _turned(
    rows: Float[Tensor, "rows width"], matrix: Float64[Tensor, "width width"]
) -> Float[Tensor, "rows width"]:
    # Apple's GPUs have no float64.
    home = torch.device("cpu") if rows.device.type == "mps" else rows.device
    return (rows.to(home).double() @ matrix.to(home)).to(rows.dtype).to(rows.device)


def _largest(magnitudes: Float[Tensor, "rows width"], count: int) -> Int64[Tensor, "rows count"]:
    """The places of the largest numbers of each row: an attacker asks for whole vocabularies of them."""
    if magnitudes.device.type != "cpu":
        return magnitudes.topk(count, dim=1).indices
    # Three to five times as fast as torch's, measured on 2,048 rows of 128; numpy has no bfloat16.
    exact = magnitudes if magnitudes.dtype == torch.float64 else magnitudes.float()
    width = exact.shape[1]
    places = np.argpartition(exact.numpy(), width - count, axis=1)[:, width - count :]
    return torch.from_numpy(np.ascontiguousarray(places))
