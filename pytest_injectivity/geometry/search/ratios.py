"""Each row's extreme ratio of hidden-state distance to prompt distance, without all edit distances.

The co-Lipschitz constant needs ``a_i = min_j ||h_i - h_j|| / d_S(s_i, s_j)`` over ALL admissible j
(SPEC section 2). Distances are cheap and edit distances are not, but ``d_S`` is at most ``max(T_i,
T_j)``: a pair whose distance over that is no smaller than the best ratio so far of both its rows
needs no edit distance. Rows stand in the order of their lengths, longest first, so that the row of
a tile (`tiles`) gives the longer length of each of its pairs. The pairs of each row with the
smallest bounds are looked at first, and rule out nearly all others.

The upper constant is found by the same search with the signs turned: there ``d_S`` is at least the
longer length less the tokens that the two prompts have in common, whatever their order.
"""

from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.executor import Executor
from pytest_injectivity.core.shapes import Bool, Float, Float64, Int64
from pytest_injectivity.geometry.distances import pair_distances
from pytest_injectivity.geometry.search.limits import DEFAULT_LIMITS, SearchLimits
from pytest_injectivity.geometry.search.possible_pairs import PossiblePairs
from pytest_injectivity.geometry.search.precision import precision_of
from pytest_injectivity.geometry.search.products import Products
from pytest_injectivity.geometry.search.ranking import ranks
from pytest_injectivity.geometry.search.resumable import RememberPart, forgetful
from pytest_injectivity.geometry.search.sendable import copied
from pytest_injectivity.geometry.search.shared import Tiles, TileSearch, search_tiles
from pytest_injectivity.geometry.search.tiles import Tile
from pytest_injectivity.prompts.metrics import PairDistances

_BLOCK = 4096
_BUCKETS = 1024
_EXACT_IN_BFLOAT16 = 256

Extreme = Literal["smallest", "largest"]


@dataclass(frozen=True)
class Ratios:
    """The extreme ratio of each row.

    Attributes:
        ratio: float64, units of the states per unit of the prompt metric; NaN where no partner is
            admissible.
        partner: the row that attains it, the first one among equals; -1 where there is none.
        looked_at: pairs whose prompt distance was computed.
    """

    ratio: Float64[np.ndarray, " n"]
    partner: Int64[np.ndarray, " n"]
    looked_at: int

    @property
    def partnered(self) -> Bool[np.ndarray, " n"]:
        """Rows with an admissible partner."""
        return self.partner >= 0


@dataclass(frozen=True)
class _Found:
    """How far a search has come: by position, and how many pairs were looked at."""

    best: Float64[np.ndarray, " n"]
    partner: Int64[np.ndarray, " n"]
    looked_at: int


def extreme_ratios(
    rows: Float[Tensor, "n hidden"],
    prompts: PairDistances,
    extreme: Extreme,
    *,
    remember: RememberPart = forgetful,
    executor: Executor | None = None,
    limits: SearchLimits = DEFAULT_LIMITS,
) -> Ratios:
    """The smallest or largest ratio of each row over all admissible pairs, exactly.

    Args:
        rows: finite rows, row i the state of prompt i.
        prompts: the prompt metric over the same prompts.
        extreme: ``smallest`` for co-Lipschitz values ``a_i``, ``largest`` for the upper constant.
        remember: keeps what parts of a long search have found.
        executor: workers that a large search is shared among.
        limits: sizes of what is looked at at once; they change no number.
    """
    if len(rows) < 2:  # noqa: PLR2004 - a pair is two
        return Ratios(np.full(len(rows), np.nan), np.full(len(rows), -1, dtype=np.int64), 0)
    kind = _Smallest if extreme == "smallest" else _Largest
    search = kind(rows, prompts, limits)
    search_tiles(search, remember=remember, executor=executor)
    return search.ratios()


class _Search(TileSearch[_Found]):
    """Rows settled so far. Values are times ``sign``, so that the search is always for a minimum.

    Positions are those of the products: longest prompts first.
    """

    sign: float

    def __init__(
        self, rows: Float[Tensor, "n hidden"], prompts: PairDistances, limits: SearchLimits
    ) -> None:
        self.rows = rows
        self.prompts = prompts
        self.limits = limits
        order = np.argsort(-prompts.lengths, kind="stable")
        self.order = torch.from_numpy(order).to(rows.device)
        self.lengths = prompts.lengths[order]
        self.products = Products.of(rows, order=self.order, limits=limits)
        self.best = torch.full((len(rows),), torch.inf, dtype=torch.float64, device=rows.device)
        self.partner = torch.full_like(self.order, -1)
        self.looked_at = 0

    def begin(self) -> None:
        """Gives every row that has a partner a first ratio."""
        self.look(*self.first_pairs())

    def look_through(self, tiles: Tiles) -> _Found:
        """Looks at every pair of tiles that may better one of its rows."""
        for own, others in tiles:
            # Longest first: lengths of a tile that do not meet are nowhere equal.
            apart = self.lengths[others.start] < self.lengths[own.stop - 1]
            if not (apart and self.prompts.metric.equal_lengths_only):
                self.settle(*self.promising(own, others))
        return self.found()

    def found(self) -> _Found:
        """All that was found so far."""
        return _Found(self.best.cpu().numpy(), self.partner.cpu().numpy(), self.looked_at)

    def take(self, found: _Found) -> None:
        """Goes on from what was found, here or by a run that was ended."""
        device = self.best.device
        self.best, self.partner = copied(found.best, device), copied(found.partner, device)
        self.looked_at = found.looked_at

    def known(self) -> _Found:
        """The best of each row."""
        return replace(self.found(), looked_at=0)

    def knowing(self, known: _Found) -> Self:
        """A search that is better only by what it finds itself."""
        other = self.changed()
        other.take(known)
        return other

    def to(self, device: torch.device) -> Self:
        """The same on another device, with a table of known pairs of its own."""
        prompts = self.prompts.take(np.arange(len(self.rows)), afresh=True)
        return super().to(device).changed(prompts=prompts)

    def merge(self, found: _Found) -> None:
        """Adds what is better, and of equal ratios the first partner."""
        device = self.best.device
        best, partner = copied(found.best, device), copied(found.partner, device)
        first = torch.where(self.partner < 0, partner, torch.minimum(self.partner, partner))
        first = torch.where(partner < 0, self.partner, first)
        tied = torch.where(best == self.best, first, self.partner)
        self.partner = torch.where(best < self.best, partner, tied)
        self.best = torch.minimum(self.best, best)
        self.looked_at += found.looked_at

    def first_pairs(self) -> tuple[Int64[Tensor, " pairs"], Int64[Tensor, " pairs"]]:
        """Pairs of positions that give every row that has a partner a first ratio."""
        raise NotImplementedError

    def promising(
        self, own: slice, others: slice
    ) -> tuple[PossiblePairs, Float64[Tensor, " pairs"]]:
        """The pairs of a tile that may better a row, and what each one's ratio cannot go below."""
        raise NotImplementedError

    def ratios(self) -> Ratios:
        """What was found, by row."""
        ratio, partner = torch.full_like(self.best, torch.nan), torch.full_like(self.partner, -1)
        found = self.partner >= 0
        ratio[self.order] = torch.where(found, self.sign * self.best, torch.nan)
        partner[self.order] = self.partner
        return Ratios(ratio.cpu().numpy(), partner.cpu().numpy(), self.looked_at)

    def settle(self, pairs: PossiblePairs, promise: Float64[Tensor, " pairs"]) -> None:
        """Look at each row's most promising pairs first, until none can better a row."""
        admissible = self._admissible(pairs.left, pairs.right)
        left, right, promise = pairs.left[admissible], pairs.right[admissible], promise[admissible]
        look = self.limits.first_look
        while True:
            # "<=": of several equal ratios the first row's counts, whatever the tiles are.
            open_ = promise <= torch.maximum(self.best[left], self.best[right])
            left, right, promise = left[open_], right[open_], promise[open_]
            if not len(left):
                return
            order = promise.argsort(stable=True)
            order = order[left[order].argsort(stable=True)]
            left, right, promise = left[order], right[order], promise[order]
            first = ranks(left, len(self.rows)) < look
            self.look(left[first], right[first])
            left, right, promise = left[~first], right[~first], promise[~first]
            look *= 2

    def look(self, left: Int64[Tensor, " pairs"], right: Int64[Tensor, " pairs"]) -> None:
        """Compute the ratios of pairs of positions and better both their rows."""
        one, other = self.order[left], self.order[right]
        ratio = self.sign * pair_distances(self.rows, one, other)
        # Equal rows are at ratio 0 whatever their prompts are.
        apart = ratio.nonzero()[:, 0]
        self.looked_at += len(apart)
        metric = self.prompts(
            one[apart].cpu().numpy(), other[apart].cpu().numpy(), threads=torch.get_num_threads()
        )
        ratio[apart] /= torch.from_numpy(metric).to(ratio.device)
        self._better(torch.cat([left, right]), torch.cat([other, one]), torch.cat([ratio, ratio]))

    def _better(
        self,
        position: Int64[Tensor, " sides"],
        partner: Int64[Tensor, " sides"],
        ratio: Float64[Tensor, " sides"],
    ) -> None:
        before = self.best.clone()
        self.best.scatter_reduce_(0, position, ratio, "amin")
        none = len(self.rows)
        self.partner[(self.best < before) | (self.partner < 0)] = none
        tied = ratio == self.best[position]
        self.partner.scatter_reduce_(0, position[tied], partner[tied], "amin")
        self.partner[self.partner == none] = -1

    def _admissible(
        self, left: Int64[Tensor, " pairs"], right: Int64[Tensor, " pairs"]
    ) -> Bool[Tensor, " pairs"]:
        admissible = self.prompts.metric.admissible(
            self.lengths[left.cpu().numpy()], self.lengths[right.cpu().numpy()]
        )
        return torch.from_numpy(admissible).to(left.device)

    def _side_by_side(
        self, order: Int64[Tensor, " n"]
    ) -> tuple[Int64[Tensor, " pairs"], Int64[Tensor, " pairs"]]:
        """Admissible pairs of positions that are neighbors in some order."""
        offsets = range(1, min(self.limits.first_look, len(order) - 1) + 1)
        none = order[:0]
        left = torch.cat([none, *(order[:-offset] for offset in offsets)])
        right = torch.cat([none, *(order[offset:] for offset in offsets)])
        admissible = self._admissible(left, right)
        return left[admissible], right[admissible]


class _Smallest(_Search):
    """The co-Lipschitz values."""

    sign = 1.0

    def __init__(
        self, rows: Float[Tensor, "n hidden"], prompts: PairDistances, limits: SearchLimits
    ) -> None:
        super().__init__(rows, prompts, limits)
        most = prompts.metric.upper_bound(self.lengths, self.lengths)
        self.most = torch.from_numpy(most).to(rows.device)

    def first_pairs(self) -> tuple[Int64[Tensor, " pairs"], Int64[Tensor, " pairs"]]:
        """Those of the least promise among the longest prompts, or prompts of equal length."""
        n = len(self.rows)
        every = torch.arange(n, device=self.order.device)
        if self.prompts.metric.equal_lengths_only:
            return self._side_by_side(every)
        blocks = (slice(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK))
        partner = torch.cat([self._least_promise(block) for block in blocks])
        others = partner != every
        return every[others], partner[others]

    def promising(
        self, own: slice, others: slice
    ) -> tuple[PossiblePairs, Float64[Tensor, " pairs"]]:
        """Distance over the longer length, as the products know it."""
        # A row without an admissible partner looks for nothing.
        reach = torch.where(self.partner < 0, -torch.inf, self.best / self.products.scale)
        pairs = Tile(self.products, own, others).in_reach(reach, self.most[own])
        return pairs, pairs.lower * self.products.scale / self.most[pairs.left]

    def _least_promise(self, block: slice) -> Int64[Tensor, " block"]:
        """The partner of about the least promise among the longest prompts, for each of a block."""
        sample = slice(0, min(self.limits.ratio_sample, len(self.rows)))
        squared = self.products.squared(block, sample)
        squared += self.products.squares[block, None]
        # Square lengths: the order of the promises is all that is asked for.
        longest = torch.maximum(self.most[block, None], self.most[sample]).to(squared.dtype)
        squared /= longest.square_()
        squared[:, block].fill_diagonal_(torch.inf)
        return squared.argmin(1)


class _Largest(_Search):
    """The values of the upper Lipschitz constant."""

    sign = -1.0

    def __init__(
        self, rows: Float[Tensor, "n hidden"], prompts: PairDistances, limits: SearchLimits
    ) -> None:
        super().__init__(rows, prompts, limits)
        bags = prompts.token_bags(_BUCKETS)[self.order.cpu().numpy()]
        exact = not bags.size or bags.max() <= _EXACT_IN_BFLOAT16
        self.bags = torch.from_numpy(bags.astype(np.float32)).to(
            rows.device, self.products.rounded.dtype if exact else torch.float32
        )

    def first_pairs(self) -> tuple[Int64[Tensor, " pairs"], Int64[Tensor, " pairs"]]:
        """Prompts that begin alike, and prompts of like length."""
        n = len(self.rows)
        place = torch.empty_like(self.order)
        place[self.order] = torch.arange(n, device=place.device)
        alike = place[torch.from_numpy(self.prompts.alphabetical()).to(place.device)]
        pairs = [self._side_by_side(one) for one in (alike, torch.arange(n, device=place.device))]
        return torch.cat([left for left, _ in pairs]), torch.cat([right for _, right in pairs])

    def promising(
        self, own: slice, others: slice
    ) -> tuple[PossiblePairs, Float64[Tensor, " pairs"]]:
        """Distance over the tokens that the two prompts do not have in common."""
        least = self._least(own, slice(others.start, min(others.stop, len(self.rows))))
        # Values are negative: the largest ratio so far, in the products' units.
        reach = torch.where(self.partner < 0, torch.inf, -self.best / self.products.scale)
        pairs = Tile(self.products, own, others).beyond(reach, least)
        at = least[pairs.left - own.start, pairs.right - others.start].double()
        return pairs, -pairs.upper * self.products.scale / at

    def _least(self, own: slice, others: slice) -> Float[Tensor, "own others"]:
        """What the prompt metric is at least; the row's prompt is the longer one."""
        lengths = torch.from_numpy(self.lengths).to(self.bags.device, torch.float32)
        left, right = self.bags[own].float(), self.bags[others].float()
        with precision_of(self.bags.dtype):
            least = lengths[own, None] - left @ right.T
        # Lengths that differ make as many edits at least, and distinct prompts one.
        least = torch.maximum(least, lengths[own, None] - lengths[others]).clamp(min=1)
        return least / lengths[own, None] if self.prompts.metric.per_length else least
