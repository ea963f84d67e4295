"""A matrix that the files of a checkpoint hold as codes and scales, and how to decode it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from pytest_injectivity.core.shapes import Float32
from pytest_injectivity.errors import ModelError
from pytest_injectivity.quantization.stored_tensors import Read

Parts = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class EncodedMatrix:
    """A matrix, the tensors that it is decoded from, and the function that decodes them.

    Attributes:
        name: the parameter that it fills.
        shape: of the parameter; of a stack of matrices, theirs together.
        bits: of a code.
        form: the format's name of the type, such as ``NVFP4`` or ``W4``.
        parts: the names of the tensors, by role.
        decode: gives the matrix in float32 from the tensors by role.
    """

    name: str
    shape: tuple[int, ...]
    bits: int
    form: str
    parts: Mapping[str, str]
    decode: Callable[[Parts], Tensor]

    def values(self, read: Read) -> Float32[Tensor, "..."]:
        """Reads the tensors and decodes them.

        Args:
            read: gives a tensor of the files by its name.

        Raises:
            ModelError: the tensors contradict each other.
        """
        try:
            return self.decode({role: read(name) for role, name in self.parts.items()})
        except ValueError as error:
            raise ModelError(f"{self.name} cannot be decoded ({self.form}): {error}") from error


def grouped(tensors: Iterable[str], roles: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The tensors of each layer by their role, by the layer's name.

    Args:
        tensors: names.
        roles: the role of a tensor, by the end of its name. Of two ends that fit, the longer counts.
    """
    ends = sorted(roles, key=len, reverse=True)
    layers: dict[str, dict[str, str]] = {}
    for name in tensors:
        end = next((one for one in ends if name.endswith(one)), None)
        if end is not None:
            layers.setdefault(name.removesuffix(end), {})[roles[end]] = name
    return layers


def require(layer: str, parts: Mapping[str, str], *roles: str) -> None:
    """Refuses a layer that lacks a tensor.

    Args:
        layer: its name.
        parts: the names of its tensors, by role.
        roles: that it must have.

    Raises:
        ModelError: one is missing.
    """
    if missing := [role for role in roles if role not in parts]:
        held = ", ".join(sorted(parts.values()))
        raise ModelError(
            f"{layer} has {held} and no {' and no '.join(missing)}, which its codes need"
        )
