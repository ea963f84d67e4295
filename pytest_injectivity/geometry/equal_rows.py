"""Classes of rows that are equal in every coordinate: exact collisions (SPEC section 2).

Rows are hashed and sorted, and rows of equal hashes are compared byte by byte, so that no pair of
rows is looked at that does not collide (or whose hashes do).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Int64

_VIEWS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_HASHED = 8


@dataclass(frozen=True)
class EqualRows:
    """The classes of rows that are equal in every coordinate (SPEC section 2, exact collisions).

    Attributes:
        label: class of each row; classes are numbered from 0.
    """

    label: Int64[np.ndarray, " n"]

    @classmethod
    def of(cls, rows: Tensor) -> "EqualRows":
        """Compare the rows (floats or integer codes, finite) byte by byte; ``-0.0 == 0.0``."""
        hashes = _hashes(rows).cpu().numpy()
        _, label, sizes = np.unique(hashes, return_inverse=True, return_counts=True)
        label = label.astype(np.int64)
        # Equal rows have equal hashes; rows of equal hashes are compared whole.
        doubtful = np.flatnonzero(sizes[label] > 1)
        if len(doubtful):
            within = _by_bytes(rows[torch.from_numpy(doubtful).to(rows.device)])
            pairs = np.stack([label[doubtful], within], axis=1)
            _, first, again = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
            names = label[doubtful][first]
            # The first class of a hash keeps its number, the others get new ones.
            taken = np.flatnonzero(np.concatenate([[False], names[1:] == names[:-1]]))
            names[taken] = len(sizes) + np.arange(len(taken))
            label[doubtful] = names[again.ravel()]
        return cls(label)

    @cached_property
    def classes(self) -> tuple[Int64[np.ndarray, " members"], ...]:
        """The classes with at least two rows: their row indexes, ascending."""
        shared = np.flatnonzero(np.bincount(self.label)[self.label] > 1)
        order = shared[np.argsort(self.label[shared], kind="stable")]
        starts = np.flatnonzero(np.diff(self.label[order])) + 1
        return tuple(np.split(order, starts)) if len(order) else ()

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
        """The first colliding pairs ``(i, j)`` with ``i < j``, in the order of their rows."""
        found: list[tuple[int, int]] = []
        later = [
            (int(row), members[at + 1 :])
            for members in self.classes
            for at, row in enumerate(members[:-1][:limit])
        ]
        for row, others in sorted(later, key=lambda one: one[0]):
            found += [(row, int(other)) for other in others[: limit - len(found)]]
            if len(found) >= limit:
                break
        return tuple(found)


def _hashes(rows: Tensor) -> Int64[Tensor, " n"]:
    """A number for each row that depends on the bytes of a few coordinates, spread evenly."""
    step = max(1, rows.shape[1] // _HASHED)
    bits = _bits(rows[:, ::step]).long()
    generator = torch.Generator().manual_seed(0)
    odd = torch.randint(-(2**62), 2**62, (bits.shape[1],), generator=generator) * 2 + 1
    # Integer arithmetic wraps around: any order of summation gives the same number.
    return (bits * odd.to(bits.device)).sum(1)


def _by_bytes(rows: Tensor) -> Int64[np.ndarray, " n"]:
    """The class of each row, by sorting the rows' bytes."""
    bits = _bits(rows).cpu().numpy()
    if not bits.size:
        return np.zeros(len(bits), dtype=np.int64)
    whole = bits.view(np.dtype((np.void, bits.itemsize * bits.shape[1]))).ravel()
    return np.unique(whole, return_inverse=True)[1].astype(np.int64)


def _bits(rows: Tensor) -> Tensor:
    # Adding zero turns -0.0 into 0.0 and changes nothing else.
    plain = (rows + 0).contiguous()
    return plain.view(_VIEWS[plain.element_size()])
