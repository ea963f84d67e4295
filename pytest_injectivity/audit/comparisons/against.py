"""Numbers of a model compared with its parent, layer by layer, on the same prompts.

The store keeps them beside the model's own numbers, under keys that name the parent.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from pytest_injectivity.audit.comparisons.basis import basis_of
from pytest_injectivity.audit.keys import AgainstKey, DriftKey, QuantileKeptKey
from pytest_injectivity.audit.measurements.searched_by_workers import searchers
from pytest_injectivity.core.layers import Layer, layer_id
from pytest_injectivity.core.number_keys import NumberKey
from pytest_injectivity.core.shapes import Int64
from pytest_injectivity.reference.basis import BasisKind
from pytest_injectivity.results.summary import Comparison, CrossReading, Estimate, finite
from pytest_injectivity.stats import (
    PairedRatio,
    lower_quantile,
    upper_quantile,
)

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.measurements import Measurements
    from pytest_injectivity.geometry.drift import Drift
    from pytest_injectivity.geometry.layer import LayerGeometry

T = TypeVar("T")

FEWEST = 4
"""The fewest prompts for a ratio of two models' numbers: half of them is a pair."""

_Q = 0.01
_CONFIDENCE = 0.95


class Against:
    """The numbers of a model compared with its parent.

    Args:
        child: the model audited.
        parent: a model of the same shape, on the same prompts.
        margin_prompts: how many prompts at most are searched again in random halves, for a margin's
            interval.
        colipschitz_prompts: likewise for co-Lipschitz constants, which need the prompt distances of
            all pairs.
        one_basis: whether both models are known to have one basis, as steps of one training have; else
            it is looked at before states after the final norm are compared.

    Attributes:
        child, parent: as given.
    """

    def __init__(
        self,
        child: "Measurements",
        parent: "Measurements",
        *,
        margin_prompts: int = 10_000,
        colipschitz_prompts: int = 1_000,
        one_basis: bool = False,
    ) -> None:
        self.child = child
        self.parent = parent
        self._in_halves_of = {"margin": margin_prompts, "co-Lipschitz": colipschitz_prompts}
        self._one_basis = one_basis
        self._with_gain: LayerGeometry | None = None

    def drift(self, layer: Layer) -> "Drift":
        """The distance of each prompt's state from the parent's, relative to the parent's norm.

        States that are the parent's in another basis (`basis_of`) are brought to the parent's first.
        """
        return self.remember(DriftKey(layer), lambda: self._drift(layer))

    def _drift(self, layer: Layer) -> "Drift":
        import torch

        from pytest_injectivity.geometry.drift import drift_between

        states, matrix = self.child.states(layer), basis_of(self, layer).matrix
        if matrix is not None:
            states = states.cpu().double() @ torch.from_numpy(matrix)
        return drift_between(states, self.parent.states(layer))

    def not_finite(self, layer: Layer) -> tuple[int, int]:
        """The numbers of rows with a NaN or an infinity, of the model and of its parent."""
        own, parents = (
            int((~one.states(layer).isfinite().all(dim=1)).sum())
            for one in (self.child, self.parent)
        )
        return own, parents

    def geometries(self, layer: Layer) -> "tuple[LayerGeometry, LayerGeometry]":
        """The geometry of the model, in its parent's basis, and that of the parent.

        A rotation moves no distance. After the final norm of a model whose gains were folded into its
        head the parent's gain does.
        """
        own, parents = (one.geometry(layer) for one in (self.child, self.parent))
        if layer != "norm" or self._one_basis:
            return own, parents
        if (matrix := basis_of(self, layer).matrix) is None:
            return own, parents
        if self._with_gain is None:
            import torch

            from pytest_injectivity.geometry.layer import LayerGeometry

            states = self.child.states(layer).cpu().double() @ torch.from_numpy(matrix)
            self._with_gain = LayerGeometry(
                layer,
                states.float(),
                self.child.prompt_distances,
                executor=searchers(self.child.target),
            )
        return self._with_gain, parents

    def margin_kept(self, layer: Layer, q: float = _Q, *, normalized: bool = False) -> PairedRatio:
        """The model's separation margin ``m_{l,q}`` over its parent's, with its uncertainty."""
        values = [one.margin(q, normalized=normalized) for one in self.geometries(layer)]
        return self._kept("margin", layer, q, values, normalized=normalized)

    def colipschitz_kept(
        self, layer: Layer, q: float = _Q, *, normalized: bool = False
    ) -> PairedRatio:
        """The model's co-Lipschitz constant ``alpha_{l,q}`` over its parent's, with its uncertainty.

        Raises:
            OptionError: fewer than two prompts have an admissible partner.
        """
        values = [one.colipschitz(q, normalized=normalized) for one in self.geometries(layer)]
        return self._kept("co-Lipschitz", layer, q, values, normalized=normalized)

    def summary(
        self,
        layer: Layer,
        *,
        new_collisions: int | None,
        sipit: tuple[Estimate, Estimate] | None = None,
        cross: CrossReading | None = None,
        weight_error: float | None = None,
        block_error: float | None = None,
    ) -> Comparison:
        """The comparison of one layer as plain data.

        Args:
            layer: the layer.
            new_collisions: their number (`new_pairs.find_new_collisions`).
            sipit: the rates of both models, where they were measured.
            cross: what the parent reads, where it was measured.
            weight_error: the largest of its tensors, where it was measured.
            block_error: of its block, where it was measured.
        """
        lost, parents_lost = self.not_finite(layer)
        n = len(self.child.target.prompts)
        resolution, parents = (
            finite(one.resolution(layer).value) for one in (self.child, self.parent)
        )
        if lost or parents_lost:
            return Comparison(
                layer_id(layer),
                n,
                lost,
                parents_lost,
                resolution=resolution,
                reference_resolution=parents,
            )
        drift, basis = self.drift(layer), basis_of(self, layer)
        # Layer 0 sees the last token only: its margin is 0 where any two prompts end in the same token.
        ratios = {
            name: Estimate.of(ratio.value, ratio.interval(_CONFIDENCE))
            for name, ratio in (self._ratios(layer) if layer != 0 and n >= FEWEST else {}).items()
        }
        return Comparison(
            layer=layer_id(layer),
            n=n,
            not_finite=0,
            reference_not_finite=0,
            **ratios,
            new_collisions=new_collisions,
            drift_median=finite(lower_quantile(drift.relative, 0.5)),
            drift_q99=finite(upper_quantile(drift.relative, _Q)),
            drift_max=finite(float(drift.relative.max())),
            cosine_mean=finite(math.fsum(drift.cosine) / n),
            cosine_min=finite(float(drift.cosine.min())),
            resolution=resolution,
            reference_resolution=parents,
            sipit=sipit and sipit[0],
            reference_sipit=sipit and sipit[1],
            cross=cross,
            weight_error=weight_error,
            block_error=block_error,
            basis=None if basis.kind is BasisKind.IDENTITY else str(basis.kind),
        )

    def _ratios(self, layer: Layer) -> dict[str, PairedRatio]:
        ratios = {
            "margin": self.margin_kept(layer),
            "normalized_margin": self.margin_kept(layer, normalized=True),
        }
        if self.child.geometry(layer).colipschitz_rows.partnered.sum() > 1:
            ratios |= {
                "colipschitz": self.colipschitz_kept(layer),
                "normalized_colipschitz": self.colipschitz_kept(layer, normalized=True),
            }
        return ratios

    def remember(self, key: NumberKey, compute: Callable[[], T]) -> T:
        """Returns a number of this model, this parent and these prompts, kept in the store."""
        return self.child.target.remember(AgainstKey(key, self.parent.target.identity), compute)

    def _kept(
        self, what: str, layer: Layer, q: float, values: list[float], *, normalized: bool
    ) -> PairedRatio:
        """The ratio over all prompts, with its spread over random halves of a sample of them."""
        config = self.child.target.config
        self.child.target.use("prompt_metric")
        key = QuantileKeptKey(
            quantity=what,
            layer=layer,
            metric=config.prompt_metric,
            q=q,
            normalized=normalized,
            sample=self._in_halves_of[what],
            seed=config.seed,
        )
        found = self.remember(key, lambda: self._in_halves(key))
        value = values[0] / values[1] if values[1] else values[0] * math.inf
        positive = 0.0 < value < math.inf
        return replace(found, value=value, spread=found.spread if positive else math.inf)

    def _in_halves(self, key: QuantileKeptKey) -> PairedRatio:
        """A ratio in halves; its twin, normalized or not, is found with it and kept as well."""
        from pytest_injectivity.reference.halves import (
            ratio_in_halves,
            shortlists_of,
        )

        rows = self._sample(key.sample)
        of_ratios = key.quantity == "co-Lipschitz"
        distances = self.child.prompt_distances.every_pair(rows) if of_ratios else None
        geometries = self.geometries(key.layer)
        lists = shortlists_of(*geometries, rows, distances)
        own, parents = (geometry.norms[rows] for geometry in geometries)

        def ratio(*, normalized: bool) -> PairedRatio:
            return ratio_in_halves(
                lists, (own, parents) if normalized else None, key.q, seed=key.seed
            )

        twin = replace(key, normalized=not key.normalized)
        self.remember(twin, lambda: ratio(normalized=twin.normalized))
        return ratio(normalized=key.normalized)

    def _sample(self, most: int) -> Int64[np.ndarray, " rows"]:
        """The prompts of smallest hash, in the set's order."""
        hashes = self.child.target.prompts.hashes
        by_hash = sorted(range(len(hashes)), key=hashes.__getitem__)
        return np.sort(np.array(by_hash[:most], dtype=np.int64))
