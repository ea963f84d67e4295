"""Each row's nearest other rows, exactly, without a float64 pass over all pairs.

Matrix products (`products`) show which pairs may be among the nearest of one of their rows, given
an upper bound of the distance of that row's k-th nearest; the bound falls as tiles are searched.
The dozen candidates of a row that are left are decided by float64 subtraction, so that neither the
tiles, nor the threads, nor the device change a bit of the result. A row that keeps too many
candidates, because more rows crowd around it than the products can tell apart, is searched again by
float64 products.

Equal rows are set apart first, so that classes of any size cost nothing.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Bool, Float, Float64, Int64
from pytest_injectivity.errors import OptionError
from pytest_injectivity.geometry.distances import pair_distances
from pytest_injectivity.geometry.equal_rows import EqualRows
from pytest_injectivity.geometry.search.limits import DEFAULT_LIMITS, SearchLimits
from pytest_injectivity.geometry.search.possible_pairs import PossiblePairs
from pytest_injectivity.geometry.search.products import Products
from pytest_injectivity.geometry.search.ranking import first_k, ranks
from pytest_injectivity.geometry.search.resumable import RememberPart, forgetful, in_parts
from pytest_injectivity.geometry.search.tiles import Tile

# Rows by which a first bound is found: an eighth of all, up to so many.
_SAMPLED = 8
_MOST_SAMPLED = 8192


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


@dataclass(frozen=True)
class _Found:
    """How far a search has come; positions are those of ``order``."""

    order: Int64[np.ndarray, " n"]
    reach: Float64[np.ndarray, " n"]
    nearest: Float64[np.ndarray, "n k"]
    crowded: Bool[np.ndarray, " n"]
    left: Int64[np.ndarray, " candidates"]
    right: Int64[np.ndarray, " candidates"]
    lower: Float64[np.ndarray, " candidates"]


def nearest_neighbors(
    rows: Float[Tensor, "n hidden"],
    equal: EqualRows | None = None,
    *,
    remember: RememberPart = forgetful,
    limits: SearchLimits = DEFAULT_LIMITS,
) -> Neighbors:
    """Nearest neighbors by Euclidean distance, equal to a float64 search over all pairs.

    Args:
        rows: at least two finite rows.
        equal: the classes of equal rows, where the caller has them.
        remember: keeps what parts of a long search have found.
        limits: sizes of what is held at once; they change no number.
    """
    nearest = k_nearest(rows, 1, equal, remember=remember, limits=limits)
    return Neighbors(nearest.distance[:, 0], nearest.index[:, 0], nearest.searched_again)


def k_nearest(
    rows: Float[Tensor, "n hidden"],
    k: int,
    equal: EqualRows | None = None,
    *,
    remember: RememberPart = forgetful,
    limits: SearchLimits = DEFAULT_LIMITS,
) -> NearestRows:
    """The k nearest other rows by Euclidean distance, equal to a float64 search over all pairs.

    Args:
        rows: finite rows, more than ``k``.
        k: how many of each row, at least 1.
        equal: the classes of equal rows, where the caller has them.
        remember: keeps what parts of a long search have found; its names do not say ``k``.
        limits: sizes of what is held at once; they change no number.

    Raises:
        OptionError: there are not more than ``k`` rows, or ``k`` is less than 1.
    """
    if not 1 <= k < len(rows):
        raise OptionError(f"k={k} nearest of {len(rows)} rows: give 1 to {len(rows) - 1}")
    equal = equal or EqualRows.of(rows)
    kept = torch.from_numpy(equal.representatives).to(rows.device)
    if len(kept) == len(rows):
        return _among_distinct(rows, k, remember, limits)
    others = min(k, len(kept) - 1)
    among = (
        _among_distinct(rows[kept], others, remember, limits)
        if others
        else NearestRows(np.zeros((1, 0)), np.zeros((1, 0), dtype=np.int64), 0)
    )
    return with_equal_rows(among, equal, k)


def _among_distinct(
    rows: Float[Tensor, "n hidden"], k: int, remember: RememberPart, limits: SearchLimits
) -> NearestRows:
    search = _Search.of(rows, k, limits)
    in_parts(search.products.parts(), search.look_through, partial(search.take, rows), remember)
    left, right, again = search.candidates()
    nearest, index = _decide(rows, left, right, k)
    if len(again):
        nearest[again], index[again] = search_some(rows, again, k, limits=limits)
    return NearestRows(nearest.cpu().numpy(), index.cpu().numpy(), len(again))


class _Search:
    """The candidates of each row so far, and how far its k-th nearest is at most.

    Positions and distances are those of the products.
    """

    def __init__(self, products: Products, reach: Float64[Tensor, " n"], k: int) -> None:
        self.products = products
        self.limits = products.limits
        self.reach = reach
        self.k = k
        self._nearest = torch.full_like(reach, torch.inf)[:, None].repeat(1, k)
        self._held: list[tuple[Tensor, Tensor, Tensor]] = []
        self._open = torch.zeros_like(reach, dtype=torch.bool)

    @classmethod
    def of(cls, rows: Float[Tensor, "n hidden"], k: int, limits: SearchLimits) -> "_Search":
        """A first bound for each row from a sample of the others, spread evenly."""
        products = Products.of(rows, limits=limits)
        n = len(products)
        step = max(1, n // max(limits.sample, min(n // _SAMPLED, _MOST_SAMPLED), 2 * k))
        sample = torch.arange(0, n, step, device=rows.device)
        height = limits.sample
        blocks = (slice(start, min(start + height, n)) for start in range(0, n, height))
        reach = torch.cat([products.nearest_of(own, sample, k) for own in blocks])
        # Columns are looked at by groups: those of a group should reach equally far.
        order = reach.argsort()
        return cls(products.reordered(order), reach[order], k)

    def look_through(self, tiles: list[tuple[slice, slice]]) -> _Found:
        """Every pair of these tiles that may be among a row's nearest."""
        for own, others in tiles:
            self.add(Tile(self.products, own, others).in_reach(self.reach))
        self._prune()
        return _Found(
            self.products.order.cpu().numpy(),
            self.reach.cpu().numpy(),
            self._nearest.cpu().numpy(),
            self._open.cpu().numpy(),
            *(part.cpu().numpy() for part in self._held[0]),
        )

    def take(self, rows: Float[Tensor, "n hidden"], found: _Found) -> None:
        """Go on from what was found, here or by a run that was ended."""
        device = self.reach.device
        order = torch.from_numpy(found.order).to(device)
        # Rounding may put rows in another order on another number of threads.
        if not torch.equal(order, self.products.order):
            self.products = Products.of(rows, order=order, limits=self.limits)
        self.reach = torch.from_numpy(found.reach.copy()).to(device)
        self._nearest = torch.from_numpy(found.nearest.copy()).to(device)
        self._open = torch.from_numpy(found.crowded.copy()).to(device)
        held = (found.left, found.right, found.lower)
        left, right, lower = (torch.from_numpy(part).to(device) for part in held)
        self._held = [(left, right, lower)]

    def candidates(self) -> tuple[Int64[Tensor, " c"], Int64[Tensor, " c"], Int64[Tensor, " some"]]:
        """Rows and their candidates, and the rows that have too many and must be searched again."""
        self._prune()
        self._give_up_crowded()
        left, right, _ = self._held[0]
        order = self.products.order
        return order[left], order[right], order[self._open.nonzero()[:, 0]]

    def add(self, pairs: PossiblePairs) -> None:
        """Both sides of each pair, where the pair may be among the row's nearest."""
        sides = ((pairs.left, pairs.right), (pairs.right, pairs.left))
        rows = torch.cat([one for one, _ in sides])
        others = torch.cat([other for _, other in sides])
        lower, upper = pairs.lower.repeat(2), pairs.upper.repeat(2)
        wanted = lower <= self.reach[rows]
        self._tighten(rows[wanted], upper[wanted])
        self._held.append((rows[wanted], others[wanted], lower[wanted]))
        if sum(len(rows) for rows, _, _ in self._held) > max(
            self.limits.held, 64 * len(self.reach)
        ):
            self._prune()
            self._give_up_crowded()

    def _tighten(self, rows: Int64[Tensor, " some"], upper: Float64[Tensor, " some"]) -> None:
        """Merge new upper bounds into each row's k smallest."""
        if not len(rows):
            return
        upper, order = upper.sort()
        rows, again = rows[order].sort(stable=True)
        upper = upper[again]
        distinct, at = torch.unique_consecutive(rows, return_inverse=True)
        rank = ranks(at, len(distinct))
        first = rank < self.k
        new = torch.full_like(self._nearest[: len(distinct)], torch.inf)
        new[at[first], rank[first]] = upper[first]
        merged = torch.cat([self._nearest[distinct], new], dim=1).sort(dim=1).values[:, : self.k]
        self._nearest[distinct] = merged
        self.reach[distinct] = torch.minimum(self.reach[distinct], merged[:, -1])

    def _prune(self) -> None:
        """Drop what has fallen out of reach since it was found."""
        rows, others, lower = (torch.cat(parts) for parts in zip(*self._held, strict=True))
        kept = lower <= self.reach[rows]
        self._held = [(rows[kept], others[kept], lower[kept])]

    def _give_up_crowded(self) -> None:
        """Leave rows with too many candidates to the second search."""
        rows, others, lower = self._held[0]
        counts = torch.bincount(rows, minlength=len(self.reach))
        crowded = counts > max(self.limits.candidates, 4 * self.k)
        self._open |= crowded
        self.reach[crowded] = -torch.inf
        kept = ~crowded[rows]
        self._held = [(rows[kept], others[kept], lower[kept])]


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
    limits: SearchLimits = DEFAULT_LIMITS,
) -> tuple[Float64[Tensor, "some k"], Int64[Tensor, "some k"]]:
    """The k nearest rows of some rows: whatever products cannot rule out is looked at directly.

    Args:
        rows: distinct finite rows, more than ``k``.
        some: indexes of those whose neighbors are searched.
        k: how many of each.
        dtype: of the products; float64 ones tell apart rows that crowd around another.
        limits: sizes of what is held at once.
    """
    products = Products.of(rows, dtype=dtype, limits=limits)
    found = []
    for own in torch.split(some, max(1, limits.again_elements // len(rows))):
        lower, upper = products.bounds(own)
        itself = torch.arange(len(own), device=own.device), own
        lower[itself] = upper[itself] = torch.inf
        reach = upper.kthvalue(k, dim=1, keepdim=True).values
        at, near = (lower <= reach).nonzero(as_tuple=True)
        exact = pair_distances(rows, own[at], near)
        found.append(first_k(at, near, exact, len(own), k))
    return torch.cat([distance for distance, _ in found]), torch.cat([index for _, index in found])


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
