"""Tensors that go to other processes as numpy arrays, and to other devices with what holds them.

A pickled tensor is copied by every process that reads it. A numpy array can be read where it lies, by
all processes of a machine (pickle's protocol 5), and numpy has no bfloat16.
"""

import warnings
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Sendable:
    """What is made of tensors, numbers and others of its kind, as attributes."""

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: _Packed.of(value) if isinstance(value, Tensor) else value
            for name, value in vars(self).items()
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(
            (name, value.tensor() if isinstance(value, _Packed) else value)
            for name, value in state.items()
        )

    def changed(self, **values: Any) -> Self:
        """The same with other values of some attributes."""
        other = object.__new__(type(self))
        other.__dict__.update(vars(self) | values)
        return other

    def to(self, device: torch.device) -> Self:
        """The same on another device; a copy of its own where that is this one."""
        return self.changed(
            **{
                name: value.to(device)
                for name, value in vars(self).items()
                if isinstance(value, Tensor | Sendable)
            }
        )


@dataclass(frozen=True)
class _Packed:
    """A tensor's bits."""

    numbers: np.ndarray
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: Tensor) -> Self:
        plain = tensor.detach().cpu().contiguous()
        return cls(plain.view(_INTEGERS[plain.element_size()]).numpy(), plain.dtype)

    def tensor(self) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of arrays that must not be written to, as here
            return torch.from_numpy(self.numbers).view(self.dtype)


def copied(numbers: np.ndarray, device: torch.device) -> Tensor:
    """An array, which may be one that cannot be written to, as a tensor."""
    return torch.from_numpy(numbers.copy()).to(device)
