"""What is known of a secret orthogonal matrix: the directions in which pairs of rows determine it."""

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64


@dataclass(frozen=True, eq=False)
class KnownRotation:
    """The directions in which the rotation is known.

    Attributes:
        before: the directions of images, orthonormal columns.
        after: the same directions after the rotation.
    """

    before: Float64[Tensor, "width known"]
    after: Float64[Tensor, "width known"]

    @classmethod
    def of_pairs(
        cls,
        images: Float64[Tensor, "pairs width"],
        rows: Float64[Tensor, "pairs width"],
        error: float,
    ) -> "KnownRotation":
        """The rotation of images into released rows, by the orthogonal Procrustes problem.

        Args:
            images: the rows before the rotation.
            rows: the rows after it.
            error: the length below which what pairs say of a direction is noise and rounding.
        """
        _, lengths, directions = torch.linalg.svd(images, full_matrices=False)
        before = directions[lengths > error].T
        left, _, right = torch.linalg.svd((images @ before).T @ rows, full_matrices=False)
        return cls(before, right.T @ left.T)

    @classmethod
    def of_permuted(
        cls, images: Float64[Tensor, "pairs width"], rows: Float64[Tensor, "pairs width"]
    ) -> "KnownRotation":
        """The order of coordinates with the smallest squared distance of images and released rows."""
        before, after = linear_sum_assignment((images.T @ rows).cpu().numpy(), maximize=True)
        same = torch.eye(images.shape[1], dtype=torch.float64, device=images.device)
        return cls(same[:, before.tolist()], same[:, after.tolist()])

    @property
    def is_whole(self) -> bool:
        """Whether the rotation is known in every direction."""
        return self.before.shape[0] == self.before.shape[1]

    def undone(self, rows: Float[Tensor, "rows width"]) -> Float64[Tensor, "rows width"]:
        """Released rows before the rotation; in the directions that are not known, 0."""
        return rows.double() @ self.after @ self.before.T

    def of_images(self, images: Float[Tensor, "rows width"]) -> Float64[Tensor, "rows seen"]:
        """The coordinates of images in the known directions, and the length of the rest."""
        return _seen(images.double(), self.before)

    def of_rows(self, rows: Float[Tensor, "rows width"]) -> Float64[Tensor, "rows seen"]:
        """The coordinates of released rows; those of a row equal those of its own image."""
        return _seen(rows.double(), self.after)


def _seen(
    rows: Float64[Tensor, "rows width"], known: Float64[Tensor, "width known"]
) -> Float64[Tensor, "rows seen"]:
    along = rows @ known
    rest = rows.square().sum(dim=1) - along.square().sum(dim=1)
    return torch.cat([along, rest.clamp(min=0.0).sqrt()[:, None]], dim=1)
