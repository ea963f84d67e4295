"""Nearest rows, margins and co-Lipschitz constants against ``faiss.knn``, in one process."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import faiss
import numpy as np
from side_by_side import medians
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.geometry.distances import row_norms
from pytest_injectivity.geometry.layer import LayerGeometry
from pytest_injectivity.geometry.search.neighbors import k_nearest
from pytest_injectivity.geometry.search.ratios import extreme_ratios
from pytest_injectivity.prompts.metrics import PairDistances, PromptMetric

K = 8
# Of more rows one run is taken.
_MANY = 50_000
_CHECKED = 2000


@dataclass(frozen=True)
class NearestTimes:
    """The search for the `K` nearest rows of each row, and faiss's.

    Attributes:
        states: their name and shape.
        ours, theirs: seconds.
        searched_again: rows that products could not tell apart.
        same: the share of rows whose sets of nearest rows are equal.
        off: how far faiss's nearest distances are from the truth, over the mean norm.
    """

    states: str
    ours: float
    theirs: float
    searched_again: int
    same: float
    off: float

    @property
    def ratio(self) -> float:
        """Our time over faiss's."""
        return self.ours / self.theirs


def nearest_times(name: str, states: Tensor, runs: int) -> NearestTimes:
    """Times the search for the nearest rows against faiss.knn, which returns the row itself too."""
    array = states.numpy()
    ours, theirs = medians(
        [lambda: k_nearest(states, K), lambda: faiss.knn(array, array, K + 1)],
        runs if len(states) < _MANY else 1,
    )
    found = k_nearest(states, K)
    squared, index = faiss.knn(array[:_CHECKED], array, K + 1)
    same = np.mean(
        [set(row[row != at][:K]) == set(found.index[at]) for at, row in enumerate(index)]
    )
    norm = float(row_norms(states).mean())
    off = np.abs(np.sqrt(np.maximum(squared[:, 1], 0)) - found.distance[:_CHECKED, 0]).max() / norm
    return NearestTimes(
        f"{name} {len(states)} x {states.shape[1]}",
        ours,
        theirs,
        found.searched_again,
        float(same),
        float(off),
    )


@dataclass(frozen=True)
class LayerTimes:
    """The numbers of all layers of a model, and faiss's search for each row's nearest.

    Attributes:
        model: its name, its layers and the shape of its rows.
        margins: seconds of collisions, norms, every row's nearest and the near-collision ladder.
        constants: seconds of the co-Lipschitz constants.
        theirs: seconds of faiss.knn with k = 1.
        edited: the largest share of all pairs of a layer whose edit distance was computed.
    """

    model: str
    margins: float
    constants: float
    theirs: float
    edited: float

    @property
    def margin_ratio(self) -> float:
        """The time of margins over faiss's."""
        return self.margins / self.theirs

    @property
    def both_ratio(self) -> float:
        """The time of margins and constants together over faiss's."""
        return (self.margins + self.constants) / self.theirs


def layer_times(
    name: str, states: Mapping[Layer, Tensor], ids: Sequence[Sequence[int]], runs: int
) -> LayerTimes:
    """Times margins and co-Lipschitz constants of all layers against faiss.knn over the same layers."""
    metric = PairDistances(PromptMetric.LEVENSHTEIN, ids)
    every = np.arange(len(ids))
    looked_at: list[int] = []

    def margins() -> None:
        for layer, rows in states.items():
            geometry = LayerGeometry(layer, rows, metric)
            _ = geometry.equal, geometry.mean_norm, geometry.margin(), geometry.near_fractions()

    def constants() -> None:
        # Of one run's layers the later ones know distances of the earlier ones; a run knows none.
        afresh = metric.take(every, afresh=True)
        looked_at.extend(
            extreme_ratios(rows, afresh, "smallest").looked_at for rows in states.values()
        )

    def knn() -> None:
        for rows in states.values():
            faiss.knn(rows.numpy(), rows.numpy(), 2)

    ours, ratios, theirs = medians([margins, constants, knn], runs)
    count, width = next(iter(states.values())).shape
    return LayerTimes(
        f"{name}, {len(states)} layers, {count} x {width}",
        ours,
        ratios,
        theirs,
        max(looked_at) / (count * (count - 1) / 2),
    )
