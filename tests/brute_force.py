"""Brute force in float64: every pair by direct subtraction, every edit distance by its recurrence.

Written from SPEC section 2 alone: it shares no code, no library call and no shortcut with the package.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

Ids = Sequence[Sequence[int]]


def distances(rows: Tensor) -> Float64[np.ndarray, "n n"]:
    """Euclidean distances of all pairs, in the rows' own units."""
    wide = rows.double().numpy()
    return np.array([np.sqrt(((wide - one) ** 2).sum(axis=1)) for one in wide])


def norms(rows: Tensor) -> Float64[np.ndarray, " n"]:
    """Euclidean norms."""
    return np.array([np.sqrt((row**2).sum()) for row in rows.double().numpy()])


def nearest(rows: Tensor) -> tuple[Float64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """The distance to the nearest other row, and the first row that attains it."""
    others = distances(rows)
    np.fill_diagonal(others, np.inf)
    return others.min(axis=1), others.argmin(axis=1)


def colliding(rows: Tensor) -> list[tuple[int, int]]:
    """Pairs equal in every coordinate; Python's floats know that -0.0 is 0.0."""
    plain = rows.double().tolist()
    return [(i, j) for i, j in pairs(len(plain)) if plain[i] == plain[j]]


def near(rows: Tensor, eps: float) -> list[tuple[float, int, int]]:
    """Pairs within eps as (distance, i, j), closest first."""
    apart = distances(rows)
    found = [(float(apart[i, j]), i, j) for i, j in pairs(len(apart)) if apart[i, j] <= eps]
    return sorted(found)


def pairs(n: int) -> list[tuple[int, int]]:
    """Unordered pairs."""
    return [(i, j) for i in range(n) for j in range(i + 1, n)]


def levenshtein(left: Sequence[int], right: Sequence[int]) -> int:
    """Insertions, deletions and substitutions, by the textbook's table."""
    table = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        diagonal, table[0] = table[0], i
        for j, b in enumerate(right, 1):
            diagonal, table[j] = (
                table[j],
                min(table[j] + 1, table[j - 1] + 1, diagonal + (a != b)),
            )
    return table[-1]


def hamming(left: Sequence[int], right: Sequence[int]) -> float:
    """Positions that differ; infinite between different lengths, where it is not defined."""
    if len(left) != len(right):
        return np.inf
    return sum(a != b for a, b in zip(left, right, strict=True))


def prompt_distance(metric: str, left: Sequence[int], right: Sequence[int]) -> float:
    """``d_S`` by the name of the metric; infinite where the pair is not admissible."""
    name, _, divided = metric.partition("/")
    edits = {"levenshtein": levenshtein, "hamming": hamming}[name](left, right)
    return edits / max(len(left), len(right)) if divided else float(edits)


@dataclass(frozen=True)
class RatioTable:
    """Every admissible pair's ratio of state distance to prompt distance."""

    ratio: Float64[np.ndarray, "n n"]
    admissible: Bool[np.ndarray, "n n"]

    def smallest(self) -> tuple[Float64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        """Each row's smallest ratio (NaN without a partner) and its first partner (-1)."""
        return self._extreme(np.where(self.admissible, self.ratio, np.inf), 1.0)

    def largest(self) -> tuple[Float64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        """Each row's largest ratio and its first partner, likewise."""
        return self._extreme(np.where(self.admissible, -self.ratio, np.inf), -1.0)

    def _extreme(
        self, signed: Float64[np.ndarray, "n n"], sign: float
    ) -> tuple[Float64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        partnered = self.admissible.any(axis=1)
        return (
            np.where(partnered, sign * signed.min(axis=1), np.nan),
            np.where(partnered, signed.argmin(axis=1), -1),
        )


def ratios(rows: Tensor, ids: Ids, metric: str) -> RatioTable:
    """All ratios ``||h_i - h_j|| / d_S(s_i, s_j)``; the prompts are distinct."""
    apart = np.array([[prompt_distance(metric, one, other) for other in ids] for one in ids])
    admissible = np.isfinite(apart) & ~np.eye(len(ids), dtype=bool)
    ratio = distances(rows) / np.where(admissible, apart, 1.0)
    return RatioTable(ratio, admissible)


def lower_quantile(values: Float64[np.ndarray, " n"], q: float) -> float:
    """The value at rank ``floor(q (n - 1))`` of the sorted ones."""
    return sorted(values.tolist())[int(np.floor(q * (len(values) - 1)))]


def upper_quantile(values: Float64[np.ndarray, " n"], q: float) -> float:
    """The value as far from the top as `lower_quantile` is from the bottom."""
    return -lower_quantile(-values, q)
