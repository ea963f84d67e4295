"""Pairs of prompts near the resolution of a layer, each decided by evaluation (SPEC section 2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_injectivity.audit.keys import DoubtfulPairsKey
from pytest_injectivity.audit.measurements.evaluated_pairs import evaluate_pairs
from pytest_injectivity.audit.measurements.layer_states import LayerStates
from pytest_injectivity.audit.measurements.resolutions import Resolutions
from pytest_injectivity.core.layers import Layer

if TYPE_CHECKING:
    from torch import Tensor

    from pytest_injectivity.core.shapes import Float64, Int64
    from pytest_injectivity.geometry.layer import LayerGeometry
    from pytest_injectivity.states.pair_decisions import Decision, Pair
    from pytest_injectivity.states.resolution import LayerResolution

MOST_EVALUATED = 200_000
"""Pairs of a layer that are evaluated, the closest; those beyond count as unresolved."""


@dataclass(frozen=True)
class Blur:
    """A layer whose resolution does not tell its states apart, in neither distance.

    Attributes:
        distance: the usual resolution.
        median: the median distance of a row from its nearest neighbor.
        scaled_distance, scaled_median: the same in the scaled distance.
        between: the two ways of evaluation that disagree.
    """

    distance: float
    median: float
    scaled_distance: float
    scaled_median: float
    between: str


@dataclass(frozen=True)
class DoubtfulPairs:
    """The pairs of one layer near its resolution, apart from those that are equal as captured.

    Attributes:
        pairs: indexes of prompts, closest first; of prompts with equal states one stands for all.
        distances: of their captured states.
        decisions: what evaluation says of each.
        beyond: how many pairs are near the resolution and were not evaluated.
        blur: the layer's resolution is none, and no pair was evaluated; None elsewhere.
    """

    pairs: tuple["Pair", ...]
    distances: tuple[float, ...]
    decisions: tuple["Decision", ...]
    beyond: int
    blur: Blur | None

    def of_kind(self, *kinds: str) -> list[tuple["Pair", float, "Decision"]]:
        """The pairs of these kinds, closest first, each with its distance and its decision."""
        every = zip(self.pairs, self.distances, self.decisions, strict=True)
        return [one for one in every if one[2].kind in kinds]


class Doubts:
    """Finds and decides the pairs near the resolution of each layer.

    Args:
        states: the layers' states and geometries.
        resolutions: the layers' resolutions.
        most: pairs of a layer that are evaluated.
    """

    def __init__(
        self, states: LayerStates, resolutions: Resolutions, *, most: int = MOST_EVALUATED
    ) -> None:
        self.target = states.target
        self._states = states
        self._resolutions = resolutions
        self._most = most
        self._known: dict[Layer, DoubtfulPairs] = {}
        self._blurs: dict[Layer, Blur | None] = {}

    def of(self, layers: Sequence[Layer]) -> Mapping[Layer, DoubtfulPairs]:
        """The pairs of layers whose rows are finite; those of all layers are evaluated together."""
        wanted = [layer for layer in layers if layer not in self._known]
        self._known |= self.target.entry.remember_each(
            {layer: self._key(layer) for layer in wanted}, self._decide
        )
        return {layer: self._known[layer] for layer in layers}

    def _key(self, layer: Layer) -> DoubtfulPairsKey:
        return DoubtfulPairsKey(layer, self._most)

    def known(self, layer: Layer) -> DoubtfulPairs | None:
        """The pairs of a layer where they were decided, here or by an earlier run; None elsewhere."""
        if layer in self._known or self.target.entry.known([self._key(layer)]):
            return self.of([layer])[layer]
        return None

    @property
    def decided(self) -> frozenset[Layer]:
        """The layers whose pairs were asked for."""
        return frozenset(self._known)

    def blur(self, layer: Layer) -> Blur | None:
        """Whether the resolution of a layer whose rows are finite is none; no pair is evaluated."""
        if layer not in self._blurs:
            some = self._distinct(layer)
            pairs = len(some.prompts) > 1
            blur = self._blurred(some, self._resolutions.of(layer))[1] if pairs else None
            self._blurs[layer] = blur
        return self._blurs[layer]

    def _decide(self, layers: Sequence[Layer]) -> Mapping[Layer, DoubtfulPairs]:
        resolutions = {layer: self._resolutions.of(layer) for layer in layers}
        near = {layer: self._near(layer, resolutions[layer]) for layer in layers}
        pairs = {layer: one.pairs for layer, one in near.items() if one.pairs}
        decided: Mapping[Layer, list[Decision]] = {}
        if pairs:
            decided = evaluate_pairs(
                self.target,
                self.target.prompts.ids,
                pairs,
                resolutions,
                captured=self._states.states,
            )
        return {
            layer: DoubtfulPairs(
                one.pairs, one.distances, tuple(decided.get(layer, ())), one.beyond, one.blur
            )
            for layer, one in near.items()
        }

    def _near(self, layer: Layer, resolution: "LayerResolution") -> "_Near":
        from pytest_injectivity.states.candidate_pairs import candidate_pairs

        some = self._distinct(layer)
        if len(some.prompts) < 2:  # noqa: PLR2004 - a pair is two
            return _Near((), (), 0, None)
        nearest, blur = self._blurred(some, resolution)
        if blur is not None:
            return _Near((), (), 0, blur)
        found = candidate_pairs(
            some.rows, some.lengths, resolution, limit=self._most, nearest=nearest
        )
        left, right = some.prompts[found.left].tolist(), some.prompts[found.right].tolist()
        return _Near(
            tuple((min(pair), max(pair)) for pair in zip(left, right, strict=True)),
            tuple(found.distance.tolist()),
            found.count - len(left),
            None,
        )

    def _distinct(self, layer: Layer) -> "_Distinct":
        geometry = self._states.geometry(layer)
        rows, prompts = geometry.rows, geometry.prompt_of
        if geometry.equal.classes:
            one_each = geometry.equal.representatives
            rows, prompts = rows[one_each], prompts[one_each]
        lengths = [len(self.target.prompts.ids[prompt]) for prompt in prompts]
        return _Distinct(geometry, rows, prompts, lengths)

    def _blurred(
        self, some: "_Distinct", resolution: "LayerResolution"
    ) -> "tuple[Float64[np.ndarray, ' n'] | None, Blur | None]":
        """The distances from the nearest rows, where they were worth searching, and what they say."""
        from pytest_injectivity.geometry.search.neighbors import nearest_neighbors

        nearest = None
        if not some.geometry.equal.classes and (found := some.geometry.cheap_nearest) is not None:
            nearest = found.distance
        elif 4 * self._within_twice(some.geometry, resolution, some.lengths) >= len(some.prompts):
            nearest = nearest_neighbors(some.rows).distance
        if nearest is None:
            return None, None
        return nearest, blur_of(some.rows, resolution, some.lengths, nearest)

    @staticmethod
    def _within_twice(
        geometry: "LayerGeometry", resolution: "LayerResolution", lengths: Sequence[int]
    ) -> int:
        """Pairs within twice the usual resolution.

        Half of the rows have a neighbor there, or nothing is blurred, and a pair has two rows: counting
        pairs of many rows is cheaper than finding the nearest row of each.
        """
        return geometry.near(2 * resolution.of(max(lengths) - 1).usual, limit=1).count


@dataclass(frozen=True, eq=False)
class _Distinct:
    """The distinct states of a layer: of equal ones one stands for all.

    Attributes:
        geometry: of all its states.
        rows: the states.
        prompts: the prompt of each row.
        lengths: of these prompts, in tokens.
    """

    geometry: "LayerGeometry"
    rows: "Tensor"
    prompts: "Int64[np.ndarray, ' n']"
    lengths: Sequence[int]


@dataclass(frozen=True)
class _Near:
    pairs: tuple["Pair", ...]
    distances: tuple[float, ...]
    beyond: int
    blur: Blur | None


def blur_of(
    rows: "Tensor",
    resolution: "LayerResolution",
    lengths: Sequence[int],
    nearest: "Float64[np.ndarray, ' n']",
) -> Blur | None:
    """Whether half of the nearest neighbors are within twice the usual resolution, in both distances.

    The largest of some thousand distances is one state's, and says nothing of the others.

    Args:
        rows: distinct last-token states, at least two.
        resolution: of their layer.
        lengths: of their prompts, in tokens.
        nearest: the Euclidean distance of each row from its nearest neighbor.
    """
    from pytest_injectivity.geometry.search.neighbors import nearest_neighbors

    of = resolution.of(max(lengths) - 1)
    median = float(np.median(nearest))
    if not of.usual > median / 2:
        return None
    scaled_median = float(np.median(nearest_neighbors(of.scale.searchable(rows)).distance))
    if not of.usual_radius > scaled_median / 2:
        return None
    return Blur(of.usual, median, of.usual_radius, scaled_median, of.between)
