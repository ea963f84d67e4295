"""Everything measured of one layer, each number once and only when it is asked for."""

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from pytest_injectivity.errors import OptionError
from pytest_injectivity.geometry.collisions import EqualRows
from pytest_injectivity.geometry.distances import row_norms
from pytest_injectivity.geometry.neighbours import Neighbours, nearest_neighbours
from pytest_injectivity.geometry.pairs import NearPairs, pairs_within
from pytest_injectivity.geometry.quantise import quantise
from pytest_injectivity.geometry.ratios import Extreme, Ratios, extreme_ratios
from pytest_injectivity.layers import Layer
from pytest_injectivity.prompts.metrics import PairDistances
from pytest_injectivity.stats import lower_quantile, upper_quantile

LADDER = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""The near-collision tolerances reported of every layer ([VS] figure 5)."""


class LayerGeometry:
    """The geometry of the last-token states of one layer (SPEC section 2).

    Rows that are not finite take part in no number: `finite` says which are left, and indexes of
    neighbours and pairs count the rows of `rows`, the finite ones; `prompt_of` leads back to the
    prompts.

    Args:
        layer: the layer.
        states: ``(prompts, hidden)``, row i the state of prompt i, in the model's dtype.
        prompts: the prompt metric over the same prompts.
        equal: the classes of equal rows where they are known otherwise (integer codes).
    """

    def __init__(
        self,
        layer: Layer,
        states: Float[Tensor, "prompts hidden"],
        prompts: PairDistances,
        *,
        equal: EqualRows | None = None,
    ) -> None:
        if len(states) != len(prompts.lengths):
            raise OptionError(
                f"{len(states)} states for {len(prompts.lengths)} prompts: row i is prompt i"
            )
        self.layer = layer
        self.dtype = states.dtype
        self.finite: Bool[np.ndarray, " prompts"] = states.isfinite().all(dim=1).cpu().numpy()
        self.prompt_of = np.flatnonzero(self.finite)
        self.rows = states if self.finite.all() else states[torch.from_numpy(self.prompt_of)]
        self._prompts = prompts.take(self.prompt_of)
        self._equal = equal

    def __len__(self) -> int:
        """The number of finite rows."""
        return len(self.rows)

    @cached_property
    def norms(self) -> Float64[np.ndarray, " n"]:
        """Euclidean norm of each row."""
        return row_norms(self.rows).cpu().numpy()

    @property
    def mean_norm(self) -> float:
        """The mean row norm, by which normalised values are divided ([VS] figures 2 to 4)."""
        # fsum rounds once, so that the order of the prompts changes no bit.
        return math.fsum(self.norms) / len(self) if len(self) else math.nan

    @property
    def median_norm(self) -> float:
        """The median row norm: one attention-sink row can move a mean."""
        return float(np.median(self.norms)) if len(self) else math.nan

    @cached_property
    def equal(self) -> EqualRows:
        """The classes of equal rows: exact collisions."""
        return self._equal or EqualRows.of(self.rows)

    @cached_property
    def nearest(self) -> Neighbours:
        """``r_i`` of each row.

        Raises:
            OptionError: fewer than two finite rows: there is nothing to compare.
        """
        if len(self) < 2:  # noqa: PLR2004 - a pair is two
            raise OptionError(
                f"layer {self.layer}: {len(self)} of {len(self.finite)} rows are finite;"
                " at least 2 are needed for a distance"
            )
        return nearest_neighbours(self.rows, self.equal)

    @cached_property
    def colipschitz_rows(self) -> Ratios:
        """``a_i`` of each row, over all admissible partners."""
        return self._ratios("smallest")

    @cached_property
    def upper_rows(self) -> Ratios:
        """The largest ratio of each row over the same pairs."""
        return self._ratios("largest")

    def near(self, eps: float, *, limit: int = 10_000) -> NearPairs:
        """The pairs of rows within eps (absolute)."""
        return pairs_within(self.rows, eps, self.nearest, limit=limit)

    def near_fractions(self, ladder: Sequence[float] = LADDER) -> dict[float, float]:
        """The fraction of all pairs within each tolerance (absolute, [VS] figure 5)."""
        pairs = len(self) * (len(self) - 1) / 2
        return {eps: self.near(eps, limit=0).count / pairs for eps in ladder}

    def margin(self, q: float = 0.01, *, normalized: bool = False) -> float:
        """The separation margin ``m_{l,q}``: the lower q-quantile of ``r_i``; q = 0 the minimum."""
        return self._scaled(lower_quantile(self.nearest.distance, q), normalized)

    def colipschitz(self, q: float = 0.01, *, normalized: bool = False) -> float:
        """The co-Lipschitz constant ``alpha_{l,q}`` over rows that have an admissible partner."""
        values = partnered_ratios(self.colipschitz_rows)
        return self._scaled(lower_quantile(values, q), normalized)

    def upper_lipschitz(self, q: float = 0.01, *, normalized: bool = False) -> float:
        """The upper Lipschitz constant ``A_l``: the q-quantile from above of the largest ratios."""
        values = partnered_ratios(self.upper_rows)
        return self._scaled(upper_quantile(values, q), normalized)

    def quantised(self, bits: int) -> "LayerGeometry":
        """The same layer after post-hoc activation quantisation; collisions are equal codes."""
        on_grid = quantise(self.rows, bits)
        equal = EqualRows.of(on_grid.codes)
        return LayerGeometry(self.layer, on_grid.rows, self._prompts, equal=equal)

    def _ratios(self, extreme: Extreme) -> Ratios:
        return extreme_ratios(self.rows, self._prompts, extreme)

    def _scaled(self, value: float, normalized: bool) -> float:  # noqa: FBT001 - private
        if not normalized:
            return value
        return value / self.mean_norm if self.mean_norm else math.nan


def partnered_ratios(ratios: Ratios) -> Float64[np.ndarray, " partnered"]:
    """The ratios of the rows that have an admissible partner.

    Raises:
        OptionError: fewer than two have one.
    """
    values: Float64[np.ndarray, " partnered"] = ratios.ratio[ratios.partnered]
    if len(values) < 2:  # noqa: PLR2004 - a quantile of one row says nothing
        raise OptionError(
            f"{len(values)} of {len(ratios.ratio)} prompts have an admissible partner; at least 2"
            " are needed: the hamming metric compares prompts of equal length only"
            " (--injx-length cuts equal windows, --injx-prompt-metric=levenshtein compares any)"
        )
    return values
