"""Kernel ridge regression from released rows to anything that is known of examples, in closed form.

Rows are whitened, so that no loud direction decides which rows are alike: neither one of the states nor
one of a release's noise. The kernel is Gaussian, as wide as two examples are apart. On a thousand
examples it reads as much as a trained network, and takes a second.

Source: Saunders, Gammerman and Vovk, "Ridge Regression Learning Algorithm in Dual Variables" (1998).
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float, Float64

_RIDGE = 0.1
# The least power of a direction, in shares of the mean one: a quieter one is not made as loud.
_QUIETEST = 1e-2
FEWEST = 2
"""The fewest examples that anything can be learned from."""


@dataclass(frozen=True, eq=False)
class KernelRidge:
    """What was learned of examples.

    Attributes:
        center: the mean row.
        whitener: makes coordinates of equal power out of a row less the center.
        examples: the rows of the examples in these coordinates.
        targets: what is known of each.
        spread: the median of the squared distances between examples.
        factor: the Cholesky factor of the kernel with its ridge.
    """

    center: Float64[Tensor, " width"]
    whitener: Float64[Tensor, "width axes"]
    examples: Float64[Tensor, "examples axes"]
    targets: Float64[Tensor, "examples targets"]
    spread: float
    factor: Float64[Tensor, "examples examples"]

    @classmethod
    def of(
        cls, rows: Float[Tensor, "examples width"], targets: Float[Tensor, "examples targets"]
    ) -> "KernelRidge":
        """Learns from at least two examples.

        Args:
            rows: the released row of each example.
            targets: the numbers to be told from it.
        """
        exact = rows.double().nan_to_num()
        center = exact.mean(dim=0)
        _, lengths, axes = torch.linalg.svd(exact - center, full_matrices=False)
        power = lengths.square() / len(rows)
        loud = (power + _QUIETEST * power.sum() / rows.shape[1]).sqrt()
        whitener = axes.T / loud.clamp(min=torch.finfo(torch.float64).tiny ** 0.5)
        examples = (exact - center) @ whitener
        away = squared_distances(examples, examples)
        apart = away[away > 0]
        spread = float(apart.median()) if len(apart) else 1.0
        kernel = (-away / spread).exp()
        kernel.diagonal().add_(_RIDGE)
        factor = torch.linalg.cholesky(kernel)
        return cls(center, whitener, examples, targets.double(), spread, factor)

    def __call__(self, rows: Float[Tensor, "rows width"]) -> Float64[Tensor, "rows targets"]:
        """What the targets of further rows are expected to be."""
        further = (rows.double().nan_to_num() - self.center) @ self.whitener
        kernel = (-squared_distances(further, self.examples) / self.spread).exp()
        told: Tensor = self._mean + kernel @ self._slopes
        return told

    @cached_property
    def left_out(self) -> Float64[Tensor, "examples targets"]:
        """What would be expected of each example if it had not been learned from."""
        without = torch.cholesky_inverse(self.factor).diagonal()
        told: Tensor = self.targets - self._slopes / without[:, None]
        return told

    @cached_property
    def _mean(self) -> Float64[Tensor, " targets"]:
        return self.targets.mean(dim=0)

    @cached_property
    def _slopes(self) -> Float64[Tensor, "examples targets"]:
        slopes: Tensor = torch.cholesky_solve(self.targets - self._mean, self.factor)
        return slopes


def squared_distances(
    rows: Float[Tensor, "rows axes"], others: Float[Tensor, "others axes"]
) -> Float[Tensor, "rows others"]:
    """The squared distance of each row from each of the others."""
    away: Tensor = torch.cdist(rows, others).square()
    return away
