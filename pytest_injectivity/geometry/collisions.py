"""Rows equal in every coordinate: found by sorting the rows' bytes, which is no quadratic problem."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

_VIEWS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class EqualRows:
    """The classes of rows that are equal in every coordinate (SPEC section 2, exact collisions).

    Attributes:
        label: class of each row; classes are numbered in the order of their bytes.
    """

    label: Int64[np.ndarray, " n"]

    @classmethod
    def of(cls, rows: Tensor) -> "EqualRows":
        """Sort the rows (floats or integer codes, finite) by their bytes; ``-0.0 == 0.0``."""
        # Adding zero turns -0.0 into 0.0 and changes nothing else.
        plain = (rows + 0).contiguous().cpu()
        bits = plain.view(_VIEWS[plain.element_size()]).numpy()
        if not bits.size:
            return cls(np.zeros(len(bits), dtype=np.int64))
        whole = bits.view(np.dtype((np.void, bits.itemsize * bits.shape[1]))).ravel()
        _, label = np.unique(whole, return_inverse=True)
        return cls(label.astype(np.int64))

    @cached_property
    def classes(self) -> tuple[Int64[np.ndarray, " members"], ...]:
        """The classes with at least two rows: their row indexes, ascending."""
        order = np.argsort(self.label, kind="stable")
        starts = np.flatnonzero(np.diff(self.label[order])) + 1
        return tuple(members for members in np.split(order, starts) if len(members) > 1)

    @property
    def pairs(self) -> int:
        """The number of unordered colliding pairs."""
        return sum(len(members) * (len(members) - 1) // 2 for members in self.classes)

    @property
    def representatives(self) -> Int64[np.ndarray, " classes"]:
        """The first row of each class, ascending."""
        _, first = np.unique(self.label, return_index=True)
        return np.sort(first).astype(np.int64)

    def list_pairs(self, limit: int) -> tuple[tuple[int, int], ...]:
        """Colliding pairs ``(i, j)`` with ``i < j``, class by class, at most ``limit``."""
        found: list[tuple[int, int]] = []
        for members in sorted(self.classes, key=lambda members: int(members[0])):
            for at, left in enumerate(members):
                room = limit - len(found)
                if room <= 0:
                    return tuple(found)
                found += [(int(left), int(right)) for right in members[at + 1 : at + 1 + room]]
        return tuple(found)
