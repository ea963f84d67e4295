"""Products of a Jacobian that has a row for each coordinate of a state and a column for each weight."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float64

# Directions of states that no weight moves, of the largest eigenvalue.
_UNMOVED = 1e-13


class JacobianProducts:
    """The products of ``J`` that a Gauss-Newton step needs, summed over groups of weights.

    Args:
        residual: the difference of the states.
        roundings: names of changes whose products are summed too.
    """

    def __init__(self, residual: Float64[Tensor, " hidden"], roundings: Sequence[str]) -> None:
        width = len(residual)
        self.residual = residual
        self.gram = residual.new_zeros(width, width)
        self.along_change = residual.new_zeros(width)
        self._along = {name: residual.new_zeros(width) for name in roundings}
        self._inverse: Tensor | None = None

    def add(
        self,
        part: Float64[Tensor, "hidden weights"],
        change: Float64[Tensor, " weights"],
        roundings: Mapping[str, Float64[Tensor, " weights"]],
    ) -> None:
        """Adds the columns of some weights."""
        self.gram += part @ part.T
        self.along_change += part @ change
        for name, one in roundings.items():
            self._along[name] += part @ one

    def add_layer(
        self,
        outputs: Float64[Tensor, "hidden tokens out"],
        inputs: Float64[Tensor, "tokens in"],
        change: Float64[Tensor, "out in"],
        roundings: Mapping[str, Float64[Tensor, "out in"]],
    ) -> None:
        """Adds the columns of a linear layer's matrix.

        Args:
            outputs: the derivatives by what comes out of it at each token.
            inputs: what goes into it.
            change: of the matrix.
            roundings: by name, further changes of it.
        """
        flat = outputs.flatten(1)
        together = torch.einsum("ts,nso->nto", inputs @ inputs.T, outputs).flatten(1)
        self.gram += together @ flat.T
        self.along_change += flat @ (inputs @ change.T).flatten()
        for name, one in roundings.items():
            self._along[name] += flat @ (inputs @ one.T).flatten()

    @property
    def moved(self) -> bool:
        """Whether any weight moves the difference."""
        return bool(self.gram.diagonal().any())

    @property
    def largest(self) -> float:
        """``sigma_max(J)``."""
        return math.sqrt(max(float(torch.linalg.eigvalsh(self.gram)[-1]), 0.0))

    def solved(self, aim: Float64[Tensor, " hidden"]) -> Float64[Tensor, " hidden"]:
        """``(J J^T)^+`` times a vector."""
        if self._inverse is None:
            self._inverse = torch.linalg.pinv(self.gram, rtol=_UNMOVED, hermitian=True)
        return self._inverse @ aim

    def projected(self, name: str) -> float:
        """The norm of a rounding's projection on the row space of ``J``."""
        along = self._along[name]
        return math.sqrt(max(float(along @ self.solved(along)), 0.0))
