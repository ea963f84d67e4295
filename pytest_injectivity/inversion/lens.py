"""The lens ranks the tokens that a state may belong to, before any candidate is tested (SPEC section 4).

A lens is a forward model of the states of one layer: ``h ~ center + signature(token)``, with one
covariance for all that the model leaves unexplained. All tokens of all positions are ranked at once by
Mahalanobis distance, which is one product of two whitened matrices. A probing
classifier goes the other way, from states to tokens, and cannot use the states that a search computes; a
forward model is corrected by each of them.

Where a state was computed after the same prefix, of any token ``g``, the context is known::

    F(v) ~ F(g) + signature(v) - signature(g)

A lens only orders candidates. What it ranks first is still verified by a state that the model computes.
"""

from dataclasses import dataclass, replace
from functools import cached_property, reduce

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Bool, Float, Int

_KERNEL_RIDGE = 0.3
# Elements, and rows, of one block of distances.
_BLOCK_ELEMENTS = 2**24
_BLOCK_ROWS = 2**15


@dataclass(frozen=True, eq=False)
class Lens:
    """A forward model of one layer's states; made by :func:`calibrate`.

    Attributes:
        center: mean state by position, from 0 to the last one calibrated; that one's serves all after.
        signatures: what each token adds to it.
        whitener: ``d x d``; in coordinates ``x @ whitener`` what is left has a covariance of one.
        rows: each token's embedding row divided by its root mean square.
        ranked: tokens that are proposed; the others (not finite, no token of the tokenizer's) are not.
        forwards: tokens run to calibrate it.
    """

    center: Float[Tensor, "positions hidden"]
    signatures: Float[Tensor, "vocab hidden"]
    whitener: Float[Tensor, "hidden hidden"]
    rows: Float[Tensor, "vocab embedding"]
    ranked: Bool[Tensor, " vocab"]
    forwards: int

    @cached_property
    def _sites(self) -> Float[Tensor, "vocab hidden"]:
        return self.signatures @ self.whitener

    @cached_property
    def _lengths(self) -> Float[Tensor, " vocab"]:
        return self._sites.square().sum(dim=1).masked_fill(~self.ranked, torch.inf)

    def uncorrected(
        self, states: Float[Tensor, "states hidden"], positions: Int[Tensor, " states"]
    ) -> Float[Tensor, "states hidden"]:
        """What to rank where nothing of the context is known: a state less its position's mean."""
        return states.to(self.center) - self.center[positions.clamp(max=len(self.center) - 1)]

    def corrected(
        self,
        states: Float[Tensor, "states hidden"],
        computed: Float[Tensor, "states hidden"],
        tokens: Int[Tensor, " states"],
    ) -> Float[Tensor, "states hidden"]:
        """What to rank where the states of some tokens after the same prefixes are known."""
        known = self.signatures[tokens.to(self.signatures.device)]
        return states.to(self.center) - computed.to(self.center) + known

    def rank(
        self,
        queries: Float[Tensor, "states hidden"],
        count: int,
        *,
        block_elements: int = _BLOCK_ELEMENTS,
    ) -> Int[Tensor, "states count"]:
        """The most likely tokens of each query, most likely first, on the CPU.

        Args:
            queries: what `uncorrected` or `corrected` gives.
            count: how many tokens of each.
            block_elements: distances held at once.
        """
        step = max(1, block_elements // len(self._sites))
        found = [
            self._nearest(some @ self.whitener, count).cpu()
            for some in torch.split(queries.to(self._sites), step)
        ]
        return torch.cat(found)

    def misfits(self, queries: Float[Tensor, "states hidden"]) -> Float[Tensor, "states vocab"]:
        """Squared Mahalanobis distances, less a number of each query's own.

        Half of one is minus the log-likelihood of a token, up to that number.
        """
        return self._misfits(queries.to(self._sites) @ self.whitener)

    def noised(self, covariance: Float[Tensor, "hidden hidden"]) -> "Lens":
        """The lens of states to which noise of this covariance was added."""
        root = torch.linalg.inv(self.whitener.double())
        lower = torch.linalg.cholesky(root.T @ root + covariance.to(root))
        whitener = torch.linalg.inv(lower).T.to(self.whitener).contiguous()
        return replace(self, whitener=whitener)

    def _misfits(self, aims: Float[Tensor, "states hidden"]) -> Float[Tensor, "states vocab"]:
        away = torch.addmm(self._lengths, aims, self._sites.T, alpha=-2)
        # A query that is not finite ranks the tokens by their ids.
        return torch.where(away.isnan(), torch.inf, away)

    def _nearest(
        self, aims: Float[Tensor, "states hidden"], count: int
    ) -> Int[Tensor, "states count"]:
        """The tokens whose whitened signatures are nearest, all of them where they are not so many."""
        away = self._misfits(aims)
        return away.topk(min(count, away.shape[1]), dim=1, largest=False, sorted=True).indices

    def rank_behind(
        self,
        state: Float[Tensor, " hidden"],
        tokens: Int[Tensor, " tested"],
        computed: Float[Tensor, "tested hidden"],
        count: int,
        *,
        pool: int = 2**14,
    ) -> Int[Tensor, " count"]:
        """The most likely tokens of a state behind a prefix after which many tokens were computed.

        What the signatures leave unexplained there is much the same for tokens with similar embedding
        rows: it is interpolated from the tokens computed by kernel ridge regression, with the rows'
        inner product as the kernel.

        Args:
            state: to be inverted.
            tokens: whose states behind the prefix were computed.
            computed: those states.
            count: how many tokens to name.
            pool: among how many tokens, those of the nearest signatures, they are looked for.
        """
        tokens = tokens.to(self.rows.device)
        finite = computed.isfinite().all(dim=1)
        tokens, computed = tokens[finite], computed[finite].to(self.center)
        left = computed @ self.whitener - self._sites[tokens]
        center, mean = self.rows[tokens].mean(dim=0), left.mean(dim=0)
        features = self.rows[tokens] - center
        kernel = features @ features.T
        kernel.diagonal().add_(_KERNEL_RIDGE * kernel.diagonal().mean() + 1e-30)
        slopes = torch.linalg.solve(kernel, left - mean)
        aim = state.to(self.center) @ self.whitener - mean
        # The mean of what the tested tokens leave unexplained rules out all but a pool of tokens.
        likely = self._nearest(aim[None], max(pool, count))[0]
        # The cheaper order of the two products: of a wide model few states are computed at first.
        few = 2 * len(features) < features.shape[1]
        maps = (features.T, slopes) if few else (features.T @ slopes,)
        away = [
            (self._sites[some] + reduce(torch.matmul, maps, self.rows[some] - center) - aim)
            .square()
            .sum(dim=1)
            for some in torch.split(likely, _BLOCK_ROWS)
        ]
        found = torch.cat(away).masked_fill(~self.ranked[likely], torch.inf)
        found = torch.where(found.isnan(), torch.inf, found)
        return likely[found.topk(count, largest=False, sorted=True).indices].cpu()
