"""Pairs of rows that products could not rule out."""

from dataclasses import dataclass

from torch import Tensor

from pytest_injectivity.core.shapes import Float64, Int64


@dataclass(frozen=True)
class Hits:
    """Pairs that may be within reach, each once.

    Attributes:
        left: positions in the products' order, each less than that of its right side.
        right: likewise.
        lower: what the distance of the rounded rows is at least, in units of ``Products.scale``.
        upper: what it is at most.
    """

    left: Int64[Tensor, " hits"]
    right: Int64[Tensor, " hits"]
    lower: Float64[Tensor, " hits"]
    upper: Float64[Tensor, " hits"]

    def __len__(self) -> int:
        return len(self.left)

    def where(self, kept: Tensor) -> "Hits":
        """Some of the hits."""
        return Hits(self.left[kept], self.right[kept], self.lower[kept], self.upper[kept])
