"""All continuations of a prompt by one token, and how near two of them come ([N] figure 4).

For a prompt ``s`` the one-step map ``F(v; s)`` of every token ``v`` is a table of V states a layer. Two
equal rows are two prompts that the model cannot tell apart, found among ``V (V - 1) / 2`` pairs instead
of by chance. A table is as large as the embedding matrix, so that of each table only its equal rows, its
closest pair and, for small vocabularies, each token's nearest rival are kept.

Continuations are by one token of each class of equal embedding rows (`token_classes`): twins collide
after every prompt, and say nothing about this one.
"""

from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.executor import Executor
from pytest_injectivity.core.shapes import Float, Float64, Int64
from pytest_injectivity.geometry.equal_rows import EqualRows
from pytest_injectivity.geometry.search.closest_pair import closest_pair
from pytest_injectivity.geometry.search.near_pairs import NearPairs
from pytest_injectivity.geometry.search.neighbors import nearest_neighbors

_ROWS_AT_ONCE = 2**14


@dataclass(frozen=True, eq=False)
class Continuations:
    """All continuations of one prompt at one layer, every pair of them compared.

    Attributes:
        compared: how many have a finite state.
        mean_norm: of those states; NaN where there are none.
        not_finite: how many have not; they are compared with nothing.
        equal: token ids whose continuations are equal in every coordinate, class by class.
        closest: the smallest distance between continuations that are not equal, in the states' units;
            infinite where fewer than two are left.
        pair: the two tokens that attain it, smaller id first; None where there is none.
        rivals: the distance of each finite continuation, by ascending token id, from its nearest
            rival; None where it was not computed (`continuation_search` does where it is asked for).
    """

    compared: int
    mean_norm: float
    not_finite: int
    equal: tuple[Int64[np.ndarray, " _members"], ...]
    closest: float
    pair: tuple[int, int] | None
    rivals: Float64[np.ndarray, " compared"] | None

    @property
    def pairs(self) -> int:
        """Unordered pairs compared."""
        return self.compared * (self.compared - 1) // 2

    @property
    def collisions(self) -> int:
        """Pairs equal in every coordinate."""
        return sum(len(members) * (len(members) - 1) // 2 for members in self.equal)

    @property
    def minimum(self) -> tuple[float, tuple[int, int] | None]:
        """The smallest distance of all pairs, and the first pair of tokens that attains it."""
        if self.equal:
            first = min(self.equal, key=lambda members: int(members[0]))
            return 0.0, (int(first[0]), int(first[1]))
        return self.closest, self.pair

    @classmethod
    def of(
        cls,
        tokens: Int64[Tensor, " tokens"],
        table: Float[Tensor, "tokens hidden"],
        rivals_at_once: int,
        executor: Executor | None = None,
    ) -> "Continuations":
        """Compares all continuations of one prompt.

        Args:
            tokens: the token ids that continue the prompt, ascending.
            table: the state of each continuation.
            rivals_at_once: up to so many continuations all nearest rivals are searched for.
            executor: workers that a large search is shared among.
        """
        known, rows = finite_continuations(tokens, table)
        equal = EqualRows.of(rows)
        distinct, apart = equal.representatives, rows
        if equal.classes:
            apart = rows[torch.from_numpy(distinct).to(rows.device)]
        closest, at = float("inf"), None
        rivals = np.zeros(len(rows)) if 1 < len(rows) <= rivals_at_once else None
        if len(distinct) > 1 and rivals is not None:
            nearest = nearest_neighbors(apart, executor=executor)
            rivals[distinct] = nearest.distance
            for members in equal.classes:
                rivals[members] = 0.0
            left = int(nearest.distance.argmin())
            closest, at = float(nearest.distance[left]), (left, int(nearest.index[left]))
        elif len(distinct) > 1:
            found = closest_pair(apart, executor=executor)
            closest, at = found.distance, (found.left, found.right)
        return cls(
            compared=len(rows),
            mean_norm=_mean_norm(rows),
            not_finite=len(table) - len(rows),
            equal=tuple(known[members] for members in equal.classes),
            closest=closest,
            pair=at and (int(known[distinct[at[0]]]), int(known[distinct[at[1]]])),
            rivals=rivals,
        )

    def equal_pairs(self, limit: int) -> NearPairs:
        """The pairs of equal continuations as token ids, class by class.

        Args:
            limit: how many pairs to list; all are counted.
        """
        classes = sorted(self.equal, key=lambda members: int(members[0]))
        every = (pair for members in classes for pair in combinations(members.tolist(), 2))
        listed = np.array(list(islice(every, limit)), dtype=np.int64).reshape(-1, 2)
        return NearPairs(self.collisions, listed[:, 0], listed[:, 1], np.zeros(len(listed)))


def finite_continuations(
    tokens: Int64[Tensor, " tokens"], table: Float[Tensor, "tokens hidden"]
) -> tuple[Int64[np.ndarray, " compared"], Float[Tensor, "compared hidden"]]:
    """The tokens whose state is finite, and their states."""
    finite = table.isfinite().all(dim=1)
    rows = table if bool(finite.all()) else table[finite]
    return tokens[finite.cpu()].numpy(), rows


def _mean_norm(rows: Float[Tensor, "compared hidden"]) -> float:
    blocks = torch.split(rows, _ROWS_AT_ONCE)
    norms = [torch.linalg.vector_norm(block.double(), dim=1) for block in blocks]
    return float(torch.cat(norms).mean())
