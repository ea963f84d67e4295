"""Each row's nearest other rows, exactly, without a float64 pass over all pairs.

Matrix products (`products`) show which pairs may be among the nearest of one of their rows, given
an upper bound of the distance of that row's k-th nearest; the bound falls as tiles are searched.
The dozen candidates of a row that are left are decided by float64 subtraction, so that neither the
tiles, nor the threads, nor the device change a bit of the result. A row that keeps too many
candidates, because more rows crowd around it than the products can tell apart, is searched again by
float64 products.

Equal rows are set apart first, so that classes of any size cost nothing.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.executor import Executor
from pytest_injectivity.core.shapes import Float, Float64, Int64
from pytest_injectivity.errors import OptionError
from pytest_injectivity.geometry.distances import pair_distances
from pytest_injectivity.geometry.equal_rows import EqualRows
from pytest_injectivity.geometry.search.limits import DEFAULT_LIMITS, SearchLimits
from pytest_injectivity.geometry.search.neighbor_search import NeighborSearch
from pytest_injectivity.geometry.search.products import Products
from pytest_injectivity.geometry.search.ranking import first_k
from pytest_injectivity.geometry.search.resumable import RememberPart, forgetful
from pytest_injectivity.geometry.search.sendable import Sendable, copied
from pytest_injectivity.geometry.search.shared import (
    divided,
    is_worth_sharing,
    search_tiles,
    shares_of,
)


@dataclass(frozen=True)
class Recall:
    """How often an index found a nearest row, counted on a sample searched exactly.

    Attributes:
        found: rows of the sample that were given a nearest row.
        sample: its size.
    """

    found: int
    sample: int


@dataclass(frozen=True)
class Neighbors:
    """The nearest other row of each row.

    Attributes:
        distance: ``r_i``, float64, in the states' own units; an upper bound of it where there is a
            ``recall``.
        index: a row that attains it, the first one among equals.
        searched_again: rows whose candidates could not be told apart by the fast products.
        recall: of the index that found them; None where they are exact.
    """

    distance: Float64[np.ndarray, " n"]
    index: Int64[np.ndarray, " n"]
    searched_again: int
    recall: Recall | None = None


@dataclass(frozen=True)
class NearestRows:
    """The k nearest other rows of each row, nearest first, the first ones among equals.

    Attributes:
        distance: float64, in the states' own units.
        index: the rows that attain them.
        searched_again: rows whose candidates could not be told apart by the fast products.
    """

    distance: Float64[np.ndarray, "n k"]
    index: Int64[np.ndarray, "n k"]
    searched_again: int


def nearest_neighbors(
    rows: Float[Tensor, "n hidden"],
    equal: EqualRows | None = None,
    *,
    remember: RememberPart = forgetful,
    executor: Executor | None = None,
    limits: SearchLimits = DEFAULT_LIMITS,
) -> Neighbors:
    """Nearest neighbors by Euclidean distance, equal to a float64 search over all pairs.

    Args:
        rows: at least two finite rows.
        equal: the classes of equal rows, where the caller has them.
        remember: keeps what parts of a long search have found.
        executor: workers that a large search is shared among.
        limits: sizes of what is held at once; they change no number.
    """
    nearest = k_nearest(rows, 1, equal, remember=remember, executor=executor, limits=limits)
    return Neighbors(nearest.distance[:, 0], nearest.index[:, 0], nearest.searched_again)


def k_nearest(
    rows: Float[Tensor, "n hidden"],
    k: int,
    equal: EqualRows | None = None,
    *,
    remember: RememberPart = forgetful,
    executor: Executor | None = None,
    limits: SearchLimits = DEFAULT_LIMITS,
) -> NearestRows:
    """The k nearest other rows by Euclidean distance, equal to a float64 search over all pairs.

    Args:
        rows: finite rows, more than ``k``.
        k: how many of each row, at least 1.
        equal: the classes of equal rows, where the caller has them.
        remember: keeps what parts of a long search have found; its names do not say ``k``.
        executor: workers that a large search is shared among.
        limits: sizes of what is held at once; they change no number.

    Raises:
        OptionError: there are not more than ``k`` rows, or ``k`` is less than 1.
    """
    if not 1 <= k < len(rows):
        raise OptionError(f"k={k} nearest of {len(rows)} rows: give 1 to {len(rows) - 1}")
    equal = equal or EqualRows.of(rows)
    kept = torch.from_numpy(equal.representatives).to(rows.device)
    if len(kept) == len(rows):
        return _among_distinct(rows, k, remember, executor, limits)
    others = min(k, len(kept) - 1)
    among = (
        _among_distinct(rows[kept], others, remember, executor, limits)
        if others
        else NearestRows(np.zeros((1, 0)), np.zeros((1, 0), dtype=np.int64), 0)
    )
    return with_equal_rows(among, equal, k)


def _among_distinct(
    rows: Float[Tensor, "n hidden"],
    k: int,
    remember: RememberPart,
    executor: Executor | None,
    limits: SearchLimits,
) -> NearestRows:
    found = NeighborSearch.of(rows, k, limits, executor)
    search_tiles(found, remember=remember, executor=executor)
    left, right, again = found.candidates()
    nearest, index = _decide(rows, left, right, k)
    if len(again):
        nearest[again], index[again] = search_some(rows, again, k, executor=executor, limits=limits)
    return NearestRows(nearest.cpu().numpy(), index.cpu().numpy(), len(again))


def _decide(
    rows: Float[Tensor, "n hidden"], left: Int64[Tensor, " c"], right: Int64[Tensor, " c"], k: int
) -> tuple[Float64[Tensor, "n k"], Int64[Tensor, "n k"]]:
    """The k nearest candidates of each row by float64 subtraction."""
    n = len(rows)
    # A pair that both its rows hold is looked at once.
    pairs, side = torch.unique(
        torch.minimum(left, right) * n + torch.maximum(left, right), return_inverse=True
    )
    exact = pair_distances(rows, pairs // n, pairs % n)[side]
    return first_k(left, right, exact, n, k)


def search_some(
    rows: Float[Tensor, "n hidden"],
    some: Int64[Tensor, " some"],
    k: int,
    dtype: torch.dtype = torch.float64,
    *,
    executor: Executor | None = None,
    limits: SearchLimits = DEFAULT_LIMITS,
) -> tuple[Float64[Tensor, "some k"], Int64[Tensor, "some k"]]:
    """The k nearest rows of some rows: whatever products cannot rule out is looked at directly.

    Args:
        rows: distinct finite rows, more than ``k``.
        some: indexes of those whose neighbors are searched.
        k: how many of each.
        dtype: of the products; float64 ones tell apart rows that crowd around another.
        executor: workers that a large search is shared among.
        limits: sizes of what is held at once.
    """
    products = Products.of(rows, dtype=dtype, limits=limits)
    searching = _Searching(rows, products, k)
    blocks = [one.cpu().numpy() for one in torch.split(some, searching.together)]
    if executor is None or not is_worth_sharing(products, executor, len(some) * len(rows)):
        found = [searching(blocks)]
    else:
        with closing(executor.map(searching, divided(blocks, shares_of(executor)))) as every:
            found = list(every)
    distance, index = (
        torch.cat([copied(part, rows.device) for part in parts])
        for parts in zip(*found, strict=True)
    )
    return distance, index


@dataclass(frozen=True)
class _Searching(Sendable):
    """Searches the nearest rows of some."""

    rows: Float[Tensor, "n hidden"]
    products: Products
    k: int

    @property
    def together(self) -> int:
        """Rows whose products with all others are held at once."""
        return max(1, self.products.limits.again_elements // len(self.rows))

    def __call__(
        self, blocks: Sequence[Int64[np.ndarray, " _block"]]
    ) -> tuple[Float64[np.ndarray, "some k"], Int64[np.ndarray, "some k"]]:
        """The nearest rows of the rows of some blocks."""
        found = [self._nearest(copied(block, self.rows.device)) for block in blocks]
        distance, index = (torch.cat(parts).cpu().numpy() for parts in zip(*found, strict=True))
        return distance, index

    def _nearest(
        self, own: Int64[Tensor, " block"]
    ) -> tuple[Float64[Tensor, "block k"], Int64[Tensor, "block k"]]:
        lower, upper = self.products.bounds(own)
        itself = torch.arange(len(own), device=own.device), own
        lower[itself] = upper[itself] = torch.inf
        reach = upper.kthvalue(self.k, dim=1, keepdim=True).values
        at, near = (lower <= reach).nonzero(as_tuple=True)
        exact = pair_distances(self.rows, own[at], near)
        return first_k(at, near, exact, len(own), self.k)


def with_equal_rows(among: NearestRows, equal: EqualRows, k: int) -> NearestRows:
    """From the nearest distinct rows to the nearest rows: a class brings all its members."""
    n = len(equal.label)
    members = np.argsort(equal.label, kind="stable")
    sizes = np.bincount(equal.label)
    starts = np.cumsum(sizes) - sizes
    representatives = equal.representatives
    place = np.empty(len(sizes), dtype=np.int64)
    place[equal.label[representatives]] = np.arange(len(representatives))
    own = equal.label[:, None]
    others = equal.label[representatives][among.index][place[equal.label]]
    classes = np.concatenate([own, others], axis=1)
    distance = np.concatenate([np.zeros((n, 1)), among.distance[place[equal.label]]], axis=1)
    # One more than k: the row itself is in its class.
    taken = np.minimum(sizes[classes.ravel()], k + 1)
    at = np.arange(taken.sum()) - np.repeat(np.cumsum(taken) - taken, taken)
    right = members[np.repeat(starts[classes.ravel()], taken) + at]
    left = np.repeat(np.repeat(np.arange(n), classes.shape[1]), taken)
    far = np.repeat(distance.ravel(), taken)
    other = left != right
    left, right, far = left[other], right[other], far[other]
    nearest, index = first_k(
        torch.from_numpy(left), torch.from_numpy(right), torch.from_numpy(far), n, k
    )
    return NearestRows(nearest.numpy(), index.numpy(), among.searched_again)
