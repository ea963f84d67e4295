"""A matrix that the files of a checkpoint hold as codes and scales, and how to decode it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor

from pytest_injectivity.core.shapes import Float32
from pytest_injectivity.errors import ModelError
from pytest_injectivity.quantization.library_calls import refusing
from pytest_injectivity.quantization.stored_tensors import Read, StoredWeights

Parts = Mapping[str, Tensor]

_MATRIX = 2


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
            ModelError: the tensors contradict each other, or stand for numbers that are not finite.
        """
        # The tensors are untrusted: torch refuses those whose shapes or types do not fit.
        with refusing(f"{self.name} cannot be decoded ({self.form})"):
            matrix = self.decode({role: read(name) for role, name in self.parts.items()})
        if matrix.shape != self.shape:
            raise ModelError(
                f"{self.name} is decoded to the shape {tuple(matrix.shape)}, and {self.shape} is told"
            )
        if not matrix.isfinite().all():
            raise ModelError(f"{self.name} is decoded to numbers that are not finite")
        return matrix


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


def shape_of(stored: StoredWeights, name: str, *, stacked: bool = False) -> tuple[int, ...]:
    """The shape of a stored matrix.

    Args:
        stored: what the files hold.
        name: the tensor's.
        stacked: matrices of experts may be stacked.

    Raises:
        ModelError: it is no matrix.
    """
    shape = stored.tensors[name].shape
    if len(shape) < _MATRIX or (len(shape) > _MATRIX and not stacked):
        raise ModelError(f"{name} has the shape {shape}: a matrix is accepted")
    return shape


def numbers_of(stored: StoredWeights, name: str, count: int) -> list[int]:
    """The whole numbers of a small tensor that describes others.

    Args:
        stored: what the files hold.
        name: the tensor's.
        count: how many it must hold.

    Raises:
        ModelError: it holds another count, or no integers.
    """
    tensor = stored.tensors[name]
    if prod(tensor.shape) != count or not tensor.dtype.startswith(("I", "U")):
        raise ModelError(
            f"{name} holds {tensor.dtype} of the shape {tensor.shape}: {count} integers are accepted"
        )
    return [int(one) for one in stored.read(name).flatten()]


def section(said: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """A part of the configuration's words on quantization; empty where there is none.

    Args:
        said: the words.
        names: of the part, and of the parts within.

    Raises:
        ModelError: it is no JSON object.
    """
    for name in names:
        inner = said.get(name)
        if inner is not None and not isinstance(inner, Mapping):
            raise ModelError(f"{name} of the quantization must be an object, not {inner!r:.50}")
        said = inner or {}
    return said


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
