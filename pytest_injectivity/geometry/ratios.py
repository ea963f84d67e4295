"""Each row's extreme ratio of hidden-state distance to prompt distance, without all edit distances.

The co-Lipschitz constant needs ``a_i = min_j ||h_i - h_j|| / d_S(s_i, s_j)`` over ALL admissible j
(SPEC section 2). Distances are cheap and edit distances are not, but ``d_S`` is at most
``max(T_i, T_j)``: a pair whose distance over that is no better than the row's best ratio so far
needs no edit distance. Rows look at their most promising pairs first, so nearly all pairs fall.
The upper constant is the same search with the signs turned, pruned by the least value of ``d_S``.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from pytest_injectivity.geometry.distances import Products, pair_distances
from pytest_injectivity.prompts.metrics import PairDistances

_FIRST_LOOK = 4

Extreme = Literal["smallest", "largest"]


@dataclass(frozen=True)
class Ratios:
    """The extreme ratio of each row.

    Attributes:
        ratio: float64, units of the states per unit of the prompt metric; NaN where no partner is
            admissible.
        partner: the row that attains it; -1 where there is none.
        looked_at: pairs whose prompt distance was computed (a pair seen from both sides counts
            twice).
    """

    ratio: Float64[np.ndarray, " n"]
    partner: Int64[np.ndarray, " n"]
    looked_at: int

    @property
    def partnered(self) -> Bool[np.ndarray, " n"]:
        """Rows with an admissible partner."""
        return self.partner >= 0


def extreme_ratios(
    rows: Float[Tensor, "n hidden"], prompts: PairDistances, extreme: Extreme
) -> Ratios:
    """The smallest or largest ratio of each row over all admissible pairs, exactly.

    Args:
        rows: finite rows, row i the state of prompt i.
        prompts: the prompt metric over the same prompts.
        extreme: ``smallest`` for co-Lipschitz values ``a_i``, ``largest`` for the upper constant.
    """
    search = _Search(rows, prompts, extreme)
    products = Products.of(rows, torch.float64)
    for own in products.own_blocks():
        search.settle(own, search.promise(own, products))
    return Ratios(search.sign * search.best, search.partner, search.looked_at)


class _Search:
    """Rows settled so far. Values are times ``sign``, so that the search is always for a minimum."""

    def __init__(
        self, rows: Float[Tensor, "n hidden"], prompts: PairDistances, extreme: Extreme
    ) -> None:
        self.rows = rows
        self.prompts = prompts
        self.sign = 1.0 if extreme == "smallest" else -1.0
        self.best = np.full(len(rows), np.nan)
        self.partner = np.full(len(rows), -1, dtype=np.int64)
        self.looked_at = 0

    def promise(
        self, own: Int64[Tensor, " block"], products: Products
    ) -> Float64[Tensor, "block n"]:
        """What each pair's signed ratio cannot go below; infinite for a pair not to be looked at."""
        lengths, metric = self.prompts.lengths, self.prompts.metric
        left, right = lengths[own.cpu().numpy(), None], lengths[None, :]
        if self.sign > 0:
            distance = products.distance(products.lower(own))
            bound = metric.upper_bound(left, right)
        else:
            distance = products.distance(products.upper(own))
            bound = metric.lower_bound(left, right)
        promise = self.sign * distance / torch.from_numpy(bound).to(distance.device)
        promise[torch.from_numpy(~metric.admissible(left, right)).to(promise.device)] = torch.inf
        promise[torch.arange(len(own), device=own.device), own] = torch.inf
        return promise

    def settle(self, own: Int64[Tensor, " block"], promise: Float64[Tensor, "block n"]) -> None:
        """Look at the block's pairs, most promising first, until no pair can better its row."""
        best = promise.new_full(own.shape, torch.inf)
        partner = torch.full_like(own, -1)
        look = _FIRST_LOOK
        active = torch.arange(len(own), device=own.device)
        while len(active):
            bounds, columns = promise[active].topk(min(look, promise.shape[1]), largest=False)
            # "<=": of several equal ratios the first row's counts, whatever the block size is.
            at, rank = torch.nonzero(
                (bounds <= best[active, None]) & bounds.isfinite(), as_tuple=True
            )
            if not len(at):
                break
            row, column = active[at], columns[at, rank]
            ratio = self._ratios(own[row], column)
            promise[row, column] = torch.inf
            self._improve(best, partner, row, column, ratio)
            active = active[torch.isin(active, row)]
            look *= 2
        self.best[own.cpu().numpy()] = torch.where(partner >= 0, best, torch.nan).cpu().numpy()
        self.partner[own.cpu().numpy()] = partner.cpu().numpy()

    def _ratios(
        self, left: Int64[Tensor, " pairs"], right: Int64[Tensor, " pairs"]
    ) -> Float64[Tensor, " pairs"]:
        ratio = self.sign * pair_distances(self.rows, left, right)
        # Equal rows are at ratio 0 whatever their prompts are.
        apart = ratio.nonzero()[:, 0]
        self.looked_at += len(apart)
        metric = self.prompts(left[apart].cpu().numpy(), right[apart].cpu().numpy())
        ratio[apart] /= torch.from_numpy(metric).to(ratio.device)
        return ratio

    @staticmethod
    def _improve(
        best: Float64[Tensor, " block"],
        partner: Int64[Tensor, " block"],
        row: Int64[Tensor, " pairs"],
        column: Int64[Tensor, " pairs"],
        ratio: Float64[Tensor, " pairs"],
    ) -> None:
        before = best.clone()
        best.scatter_reduce_(0, row, ratio, "amin")
        partner[best < before] = torch.iinfo(torch.int64).max
        partner[partner < 0] = torch.iinfo(torch.int64).max
        tied = ratio == best[row]
        partner.scatter_reduce_(0, row[tied], column[tied], "amin")
        partner[partner == torch.iinfo(torch.int64).max] = -1
