"""Pairs of rows within eps: all of them counted, the closest of them listed, none missed.

The search takes the cheapest of these ways:

- eps 0: distinct rows of up to 32 bits are never 0 apart in float64;
- few rows: all pairs are looked at;
- small eps: sorting along a few directions leaves few candidates (`projections`);
- larger eps: matrix products leave few candidates (`products`);
- an eps within which a good part of all pairs lies: products in float32 or float64 show which pairs are
  surely within it, and these are only counted; the distances of those left open are computed.

Equal rows are set apart first and counted by the sizes of their classes. Where the caller has the rows'
nearest neighbors, only rows whose nearest neighbor is within eps take part.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.executor import Executor
from pytest_injectivity.core.shapes import Float, Float64, Int64
from pytest_injectivity.errors import OptionError
from pytest_injectivity.geometry.equal_rows import EqualRows
from pytest_injectivity.geometry.search.limits import DEFAULT_LIMITS, SearchLimits
from pytest_injectivity.geometry.search.near_search import (
    FoundPairs,
    NearCounting,
    NearListing,
    gathered,
)
from pytest_injectivity.geometry.search.neighbors import Neighbors
from pytest_injectivity.geometry.search.products import Products
from pytest_injectivity.geometry.search.projections import Projections
from pytest_injectivity.geometry.search.shared import search_tiles

_AXES = 4


@dataclass(frozen=True)
class NearPairs:
    """Unordered pairs ``left < right`` with distance at most eps, closest first.

    Attributes:
        count: how many there are in all.
        left: row indexes of those listed.
        right: likewise.
        distance: float64, direct subtraction.
    """

    count: int
    left: Int64[np.ndarray, " listed"]
    right: Int64[np.ndarray, " listed"]
    distance: Float64[np.ndarray, " listed"]


def pairs_within(
    rows: Float[Tensor, "n hidden"],
    eps: float,
    nearest: Neighbors | None = None,
    *,
    limit: int = 10_000,
    equal: EqualRows | None = None,
    executor: Executor | None = None,
    limits: SearchLimits = DEFAULT_LIMITS,
) -> NearPairs:
    """The pairs of rows at Euclidean distance at most eps (SPEC section 2, near collisions).

    Args:
        rows: finite rows.
        eps: absolute, in the states' units; 0 gives the exact collisions.
        nearest: the nearest neighbors of the same rows, where the caller has them.
        limit: how many pairs to list; all are counted.
        equal: the classes of equal rows, where the caller has them.
        executor: workers that a large search is shared among.
        limits: sizes of what is held at once, and which way is taken; they change no number.

    Raises:
        OptionError: eps is negative, infinite or NaN.
    """
    if not 0.0 <= eps < np.inf:
        raise OptionError(f"eps={eps!r} is not a distance: give a finite number that is at least 0")
    equal = equal or EqualRows.of(rows)
    kept = equal.representatives
    if nearest is not None:
        # A class of equal rows is its own neighbor, and its first row may have another one.
        near = nearest.distance <= eps
        kept = kept[near[kept]]
    classes = _Classes(equal, kept)
    taking_part = rows[torch.from_numpy(kept).to(rows.device)]
    among = _among_distinct(
        taking_part, eps, classes.sizes, limit, executor=executor, limits=limits
    )
    return classes.expanded(among, limit)


class _Classes:
    """The classes of equal rows that take part, and their members.

    Attributes:
        sizes: of each class.
    """

    def __init__(self, equal: EqualRows, kept: Int64[np.ndarray, " classes"]) -> None:
        self._equal = equal
        self._kept = kept
        labels = equal.label[kept]
        self.sizes = np.bincount(equal.label)[labels]
        self._members = {int(equal.label[members[0]]): members for members in equal.classes}

    def expanded(self, among: FoundPairs, limit: int) -> NearPairs:
        """Pairs of classes become pairs of rows; the closest first, ties by row."""
        pairs = [np.array(self._equal.list_pairs(limit), dtype=np.int64).reshape(-1, 2)]
        distances = [np.zeros(len(pairs[0]))]
        one, other, far = (part.cpu().numpy() for part in (among.left, among.right, among.distance))
        left, right = self._kept[one], self._kept[other]
        single = (self.sizes[one] == 1) & (self.sizes[other] == 1)
        pairs.append(np.stack([left[single], right[single]], axis=1))
        distances.append(far[single])
        for at in np.flatnonzero(~single):
            crossed = _first_crossed(self._of(int(left[at])), self._of(int(right[at])), limit)
            pairs.append(crossed)
            distances.append(np.full(len(crossed), far[at]))
        every, distance = np.concatenate(pairs), np.concatenate(distances)
        every.sort(axis=1)
        first = np.lexsort((every[:, 1], every[:, 0], distance))[:limit]
        return NearPairs(
            self._equal.pairs + among.count, every[first, 0], every[first, 1], distance[first]
        )

    def _of(self, row: int) -> Int64[np.ndarray, " members"]:
        return self._members.get(int(self._equal.label[row]), np.array([row], dtype=np.int64))


def _first_crossed(
    left: Int64[np.ndarray, " a"], right: Int64[np.ndarray, " b"], limit: int
) -> Int64[np.ndarray, "pairs 2"]:
    """The first pairs of a row of one class and one of another, in the order of their rows."""
    found: list[Int64[np.ndarray, "some 2"]] = []
    room = limit
    for row in np.sort(np.concatenate([left, right])):
        others = right if row in left else left
        others = others[others > row][:room]
        found.append(np.stack([np.full(len(others), row), others], axis=1))
        room -= len(others)
        if room <= 0:
            break
    return np.concatenate(found)


def _among_distinct(
    rows: Float[Tensor, "n hidden"],
    eps: float,
    sizes: Int64[np.ndarray, " n"],
    limit: int,
    *,
    executor: Executor | None,
    limits: SearchLimits,
) -> FoundPairs:
    weights = torch.from_numpy(sizes).to(rows.device)
    # Squares of the smallest differences of float64 rows are 0.
    none = eps == 0 and rows.dtype != torch.float64
    if len(rows) < 2 or none:  # noqa: PLR2004 - a pair is two
        return gathered(rows, eps, (), weights, 0)
    if len(rows) * (len(rows) - 1) // 2 <= limits.few_pairs:
        left, right = torch.triu_indices(len(rows), len(rows), 1, device=rows.device)
        return gathered(rows, eps, [(left, right)], weights, limit)
    sorted_pairs = Projections.of(rows, _AXES, limits).pairs(eps)
    if sorted_pairs.total * limits.per_look <= len(rows) ** 2:
        return gathered(rows, eps, sorted_pairs.within_all(), weights, limit)
    sample = _sampled_distances(rows, limits.distance_sample)
    if float((sample <= eps).double().mean()) * len(rows) <= limits.many_near:
        return _listed(NearListing(rows, eps, weights, limit, limits), executor)
    listed = _closest(rows, eps, sample, limit, executor=executor, limits=limits)
    return replace(listed, count=_count(rows, eps, weights, executor, limits))


def _listed(search: NearListing, executor: Executor | None) -> FoundPairs:
    search_tiles(search, executor=executor)
    return search.pairs


def _closest(
    rows: Float[Tensor, "n hidden"],
    eps: float,
    sample: Float64[Tensor, " pairs"],
    limit: int,
    *,
    executor: Executor | None,
    limits: SearchLimits,
) -> FoundPairs:
    """The closest pairs, by a smaller eps that holds enough of them."""
    one = torch.ones(len(rows), dtype=torch.int64, device=rows.device)
    if not limit:
        return gathered(rows, eps, (), one, 0)
    share = min(1.0, 4.0 * limit / (len(rows) * (len(rows) - 1) / 2))
    smaller = float(sample.kthvalue(max(1, math.ceil(share * len(sample)))).values)
    while True:
        smaller = min(smaller, eps)
        found = _listed(NearListing(rows, smaller, one, limit, limits), executor)
        if len(found.left) >= limit or smaller == eps:
            return found
        smaller *= 1.25


def _count(
    rows: Float[Tensor, "n hidden"],
    eps: float,
    weights: Int64[Tensor, " n"],
    executor: Executor | None,
    limits: SearchLimits,
) -> int:
    """How many pairs are within eps, each as often as its classes have pairs of rows."""
    search = NearCounting(rows, eps, weights, limits)
    search_tiles(search, executor=executor)
    return search.count


def _sampled_distances(rows: Float[Tensor, "n hidden"], most: int) -> Float64[Tensor, " pairs"]:
    """About how far pairs of rows are apart: all pairs of a sample of about so many rows."""
    sample = rows[:: max(1, len(rows) // most)]
    products = Products.of(sample, dtype=torch.float64)
    _, upper = products.bounds(torch.arange(len(sample), device=rows.device))
    above = torch.triu_indices(len(sample), len(sample), 1, device=rows.device)
    return upper[above[0], above[1]] * products.scale
