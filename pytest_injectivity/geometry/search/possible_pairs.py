"""Pairs of rows whose distance the products cannot show to be out of reach."""

from dataclasses import dataclass

from torch import Tensor

from pytest_injectivity.core.shapes import Float64, Int64


@dataclass(frozen=True)
class PossiblePairs:
    """Pairs that may be within reach, each once.

    Attributes:
        left: positions in the products' order, each less than that of its right side.
        right: likewise.
        lower: what the distance of the rounded rows is at least, in units of ``Products.scale``.
        upper: what it is at most.
    """

    left: Int64[Tensor, " pairs"]
    right: Int64[Tensor, " pairs"]
    lower: Float64[Tensor, " pairs"]
    upper: Float64[Tensor, " pairs"]

    def __len__(self) -> int:
        return len(self.left)

    def where(self, kept: Tensor) -> "PossiblePairs":
        """Some of the pairs."""
        return PossiblePairs(self.left[kept], self.right[kept], self.lower[kept], self.upper[kept])
