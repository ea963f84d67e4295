"""The geometry of one layer (SPEC section 2): each number is computed once, when it is asked for."""

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.executor import Executor
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.number_keys import NumberKey, PartKey
from pytest_injectivity.core.shapes import Bool, Float, Float64, Int64
from pytest_injectivity.errors import OptionError
from pytest_injectivity.geometry.dimension import anisotropy, intrinsic_dimension
from pytest_injectivity.geometry.distances import row_norms
from pytest_injectivity.geometry.equal_rows import EqualRows
from pytest_injectivity.geometry.keys import (
    AnisotropyKey,
    AnyRowsKey,
    ClosestPairKey,
    DimensionKey,
    EqualRowsKey,
    FiniteRowsKey,
    NearPairsKey,
    NeighborsKey,
    RatiosKey,
    RoundedRowsKey,
    RowNormsKey,
    RowsKey,
)
from pytest_injectivity.geometry.rounded_rows import quantize
from pytest_injectivity.geometry.search.approximate import neighbors_of
from pytest_injectivity.geometry.search.closest_pair import ClosestPair, closest_pair
from pytest_injectivity.geometry.search.limits import DEFAULT_LIMITS, SearchLimits
from pytest_injectivity.geometry.search.near_pairs import NearPairs, pairs_within
from pytest_injectivity.geometry.search.neighbors import Neighbors
from pytest_injectivity.geometry.search.ratios import Extreme, Ratios, extreme_ratios
from pytest_injectivity.geometry.search.resumable import Remember, RememberPart, forgetful
from pytest_injectivity.prompts.metrics import PairDistances
from pytest_injectivity.quantization.grid import Grid, GridLike
from pytest_injectivity.stats import lower_quantile, upper_quantile

LADDER = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""The near-collision tolerances reported of every layer ([VS] figure 5)."""

# Rows whose nearest neighbors take about as long as a search for near pairs; most gates ask for both.
_FEW = 2048


# Rows that anisotropy and intrinsic dimension are measured on: of more an even sample.
_SAMPLED = 1000


class _Shared(TypedDict):
    """How large searches are shared among workers."""

    executor: Executor | None
    limits: SearchLimits


class LayerGeometry:
    """The geometry of the last-token states of one layer (SPEC section 2).

    Rows that are not finite take part in no number: `finite` says which are left, and indexes of
    neighbors and pairs count the rows of `rows`, the finite ones; `prompt_of` leads back to the
    prompts.

    Args:
        layer: the layer.
        states: ``(prompts, hidden)``, row i the state of prompt i, in the model's dtype.
        prompts: the prompt metric over the same prompts.
        equal: gives the classes of equal rows where they are known otherwise (integer codes).
        remember: asked for every number that takes time. Beside what its key holds, a number depends on
            the states and the prompts.
        executor: workers that large searches are shared among.
        rows_key: names these rows in the keys; None: those of ``layer``, not rounded.
        limits: sizes of what a search holds at once; they change no number.
    """

    def __init__(
        self,
        layer: Layer,
        states: Float[Tensor, "prompts hidden"],
        prompts: PairDistances,
        *,
        equal: Callable[[], EqualRows] | None = None,
        remember: Remember = forgetful,
        executor: Executor | None = None,
        rows_key: AnyRowsKey | None = None,
        limits: SearchLimits = DEFAULT_LIMITS,
    ) -> None:
        if len(states) != len(prompts.lengths):
            raise OptionError(
                f"{len(states)} states for {len(prompts.lengths)} prompts: row i is prompt i"
            )
        self.layer = layer
        self.dtype = states.dtype
        self._remember = remember
        self._executor = executor
        self._limits = limits
        self._rows_key: AnyRowsKey = rows_key or RowsKey(layer)
        self.finite: Bool[np.ndarray, " prompts"] = remember(
            FiniteRowsKey(self._rows_key), lambda: _finite(states)
        )
        self.prompt_of = np.flatnonzero(self.finite)
        self.rows = states if self.finite.all() else states[torch.from_numpy(self.prompt_of)]
        self._prompts = prompts.take(self.prompt_of)
        self._equal = equal or (lambda: EqualRows.of(self.rows))

    def __len__(self) -> int:
        """The number of finite rows."""
        return len(self.rows)

    @cached_property
    def norms(self) -> Float64[np.ndarray, " n"]:
        """Euclidean norm of each row."""
        norms: Float64[np.ndarray, " n"] = self._remember(
            RowNormsKey(self._rows_key), lambda: row_norms(self.rows).cpu().numpy()
        )
        return norms

    @property
    def mean_norm(self) -> float:
        """The mean row norm, by which normalized values are divided ([VS] figures 2 to 4)."""
        # fsum rounds once, so that the order of the prompts changes no bit.
        return math.fsum(self.norms) / len(self) if len(self) else math.nan

    @property
    def median_norm(self) -> float:
        """The median row norm: one attention-sink row can move a mean."""
        return float(np.median(self.norms)) if len(self) else math.nan

    @cached_property
    def anisotropy(self) -> float:
        """The mean cosine of two rows, of at most 1,000; NaN where it has none (see `anisotropy`)."""
        found: float = self._remember(
            AnisotropyKey(self._rows_key), lambda: _or_nan(anisotropy, self._sampled())
        )
        return found

    @cached_property
    def dimension(self) -> float:
        """The intrinsic dimension of at most 1,000 rows; NaN where it has none."""
        found: float = self._remember(
            DimensionKey(self._rows_key), lambda: _or_nan(intrinsic_dimension, self._sampled())
        )
        return found

    @cached_property
    def equal(self) -> EqualRows:
        """The classes of equal rows: exact collisions."""
        equal: EqualRows = self._remember(EqualRowsKey(self._rows_key), self._equal)
        return equal

    @cached_property
    def nearest(self) -> Neighbors:
        """``r_i`` of each row.

        Raises:
            OptionError: fewer than two finite rows: there is nothing to compare.
        """
        self._check_pairs()
        key = NeighborsKey(self._rows_key)
        nearest: Neighbors = self._remember(
            key,
            lambda: neighbors_of(
                self.rows, self.equal, remember=self._remembering(key), **self._shared
            ),
        )
        return nearest

    @property
    def cheap_nearest(self) -> Neighbors | None:
        """`nearest` where it is exact, and known or as cheap as a near search."""
        return self.nearest if len(self) <= _FEW else self._exact_nearest

    @cached_property
    def closest(self) -> ClosestPair:
        """The closest pair: exact at any number of rows, where neighbors may be upper bounds."""
        self._check_pairs()
        closest: ClosestPair = self._remember(
            ClosestPairKey(self._rows_key),
            lambda: closest_pair(self.rows, self.equal, **self._shared),
        )
        return closest

    @cached_property
    def colipschitz_rows(self) -> Ratios:
        """``a_i`` of each row, over all admissible partners."""
        return self._ratios("smallest")

    @cached_property
    def upper_rows(self) -> Ratios:
        """The largest ratio of each row over the same pairs."""
        return self._ratios("largest")

    def near(self, eps: float, *, limit: int = 10_000) -> NearPairs:
        """The pairs of rows within eps (absolute).

        Raises:
            OptionError: eps is no distance, or there are fewer than two finite rows.
        """
        self._check_pairs()
        near: NearPairs = self._remember(
            NearPairsKey(self._rows_key, float(eps), limit),
            lambda: pairs_within(
                self.rows,
                eps,
                self._exact_nearest,
                limit=limit,
                equal=self.equal,
                **self._shared,
            ),
        )
        return near

    @property
    def _exact_nearest(self) -> Neighbors | None:
        """What rules rows out of a search for near pairs, where it was looked for and is exact."""
        nearest = self.__dict__.get("nearest")
        return None if nearest is None or nearest.recall is not None else nearest

    def near_fractions(self, ladder: Sequence[float] = LADDER) -> dict[float, float]:
        """The fraction of all pairs within each tolerance (absolute, [VS] figure 5)."""
        pairs = len(self) * (len(self) - 1) / 2
        return {eps: self.near(eps, limit=0).count / pairs for eps in ladder}

    def margin(self, q: float = 0.01, *, normalized: bool = False) -> float:
        """The separation margin ``m_{l,q}``: the lower q-quantile of ``r_i``; q = 0 the minimum."""
        return self._scaled(lower_quantile(self.nearest.distance, q), normalized)

    def nearest_counts(self) -> dict[float, int]:
        """A histogram of ``r_i``: rows by the lower end of the tenth of a decade that it lies in.

        Ends are powers of ``10 ** 0.1``, the same for every layer and model; equal rows are at 0.
        """
        distances = self.nearest.distance
        apart = distances[(distances > 0.0) & np.isfinite(distances)]
        # An end itself belongs to what begins there, whatever its logarithm is rounded to.
        tenths, counts = np.unique(np.floor(10.0 * np.log10(apart) + 1e-9), return_counts=True)
        equal = int((distances == 0.0).sum())
        found = {0.0: equal} if equal else {}
        return found | {
            float(10.0 ** (tenth / 10.0)): int(count)
            for tenth, count in zip(tenths, counts, strict=True)
        }

    def colipschitz(self, q: float = 0.01, *, normalized: bool = False) -> float:
        """The co-Lipschitz constant ``alpha_{l,q}`` over rows that have an admissible partner."""
        values = partnered_ratios(self.colipschitz_rows)
        return self._scaled(lower_quantile(values, q), normalized)

    def upper_lipschitz(self, q: float = 0.01, *, normalized: bool = False) -> float:
        """The upper Lipschitz constant ``A_l``: the q-quantile from above of the largest ratios."""
        values = partnered_ratios(self.upper_rows)
        return self._scaled(upper_quantile(values, q), normalized)

    def quantized(
        self, bits: GridLike, calibration: Float[Tensor, "calibration hidden"] | None = None
    ) -> "LayerGeometry":
        """The same layer after post-hoc activation quantization; collisions are equal codes.

        Args:
            bits: a number of bits, or what `Grid` reads.
            calibration: finite states of this layer that the scale comes from; None: from its own.

        Raises:
            OptionError: the grid or the calibration is not accepted, or there is no scale.
        """
        grid, rows = Grid.parse(bits), self.rows
        rounded = quantize(rows, grid, calibration)
        scale = None if calibration is None else rounded.scale.digest
        return LayerGeometry(
            self.layer,
            rounded.rows,
            self._prompts,
            # Codes are as large as the rows: made again where their classes are asked for, not held.
            equal=lambda: EqualRows.of(quantize(rows, grid, calibration).stored),
            remember=self._remember,
            **self._shared,
            rows_key=RoundedRowsKey(self._rows_key, str(grid), scale),
        )

    def take(self, rows: Int64[np.ndarray, " taken"]) -> "LayerGeometry":
        """The geometry of some of the finite rows alone: nearest neighbors are among them."""
        chosen = self.rows[torch.from_numpy(rows).to(self.rows.device)]
        return LayerGeometry(self.layer, chosen, self._prompts.take(rows), **self._shared)

    def _sampled(self) -> Float[Tensor, "sampled hidden"]:
        """Rows spaced evenly in the order of their norms: in whatever order the prompts are."""
        order = np.argsort(self.norms, kind="stable")
        count = min(len(self), _SAMPLED)
        chosen = order[np.arange(count) * len(self) // max(count, 1)]
        return self.rows[torch.from_numpy(chosen).to(self.rows.device)]

    def _check_pairs(self) -> None:
        if len(self) < 2:  # noqa: PLR2004 - a pair is two
            raise OptionError(
                f"layer {self.layer}: {len(self)} of {len(self.finite)} rows are finite;"
                " at least 2 are needed for a distance"
            )

    def _ratios(self, extreme: Extreme) -> Ratios:
        key = RatiosKey(self._rows_key, extreme, self._prompts.metric.value)
        remember = self._remembering(key)
        ratios: Ratios = self._remember(
            key,
            lambda: extreme_ratios(
                self.rows, self._prompts, extreme, remember=remember, **self._shared
            ),
        )
        return ratios

    @property
    def _shared(self) -> "_Shared":
        return _Shared(executor=self._executor, limits=self._limits)

    def _remembering(self, whole: NumberKey) -> RememberPart:
        """Keeps what the parts of a search have found until the number it is for is there."""
        return lambda part, compute: self._remember(
            PartKey(whole, part.number, part.parts), compute
        )

    def _scaled(self, value: float, normalized: bool) -> float:  # noqa: FBT001 - private
        if not normalized:
            return value
        return value / self.mean_norm if self.mean_norm else math.nan


def _or_nan(
    number: Callable[[Float[Tensor, "n hidden"]], float], rows: Float[Tensor, "n hidden"]
) -> float:
    """The number, or NaN where it is not defined: of too few rows, of rows that are zero or equal."""
    try:
        return number(rows)
    except OptionError:
        return math.nan


def _finite(states: Float[Tensor, "prompts hidden"]) -> Bool[np.ndarray, " prompts"]:
    return states.isfinite().all(dim=1).cpu().numpy()


def partners_among(ratios: Ratios) -> Int64[np.ndarray, " partnered"]:
    """The partner of each row that has one, as an index into these rows."""
    place = np.cumsum(ratios.partnered) - 1
    partner: Int64[np.ndarray, " partnered"] = place[ratios.partner[ratios.partnered]]
    return partner


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


def smallest_ratio(ratios: Ratios) -> tuple[int, int]:
    """The row of the smallest ratio, and its partner.

    Raises:
        OptionError: fewer than two rows have a partner.
    """
    partnered_ratios(ratios)
    worst = int(np.nanargmin(ratios.ratio))
    return worst, int(ratios.partner[worst])
