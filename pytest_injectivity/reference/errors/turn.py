"""States of a parent in the basis of its child, and back (SPEC section 7, "Another basis")."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float, Float64


@dataclass(frozen=True, eq=False)
class Turn:
    """The maps from a child's states to its parent's.

    Attributes:
        stream: of the embeddings and the blocks, orthogonal: ``h @ stream`` is near ``h'``.
        norm: of the states after the final norm, whose gain may have been folded into the head.
    """

    stream: Float64[np.ndarray, "width width"]
    norm: Float64[np.ndarray, "width width"]

    def to_parent(self, layer: Layer, states: Float[Tensor, "*batch width"]) -> Tensor:
        """The child's states of a layer in the basis of the parent, in float64."""
        return self._mapped(self.norm if layer == "norm" else self.stream, states)

    def to_child(self, layer: Layer, states: Float[Tensor, "*batch width"]) -> Tensor:
        """The parent's states of a layer in the basis of the child, in float64."""
        matrix = np.linalg.inv(self.norm) if layer == "norm" else self.stream.T
        return self._mapped(matrix, states)

    @staticmethod
    def _mapped(matrix: Float64[np.ndarray, "width width"], states: Tensor) -> Tensor:
        mapped = states.cpu().double() @ torch.from_numpy(np.ascontiguousarray(matrix))
        wide = torch.float32 if states.device.type == "mps" else torch.float64
        return mapped.to(states.device, wide)
