"""The ratio of a model's quantile to its reference's, with its spread over halves of the prompts.

Nearest neighbors and smallest ratios are searched again within each half: a half of the whole set's
neighbors is not the half's own. Short lists of candidates, made once, serve all halves.
"""

import math
from collections.abc import Callable

import numpy as np

from pytest_injectivity.core.shapes import Float64, Int64
from pytest_injectivity.geometry.layer import LayerGeometry
from pytest_injectivity.geometry.search.shortlists import Shortlists
from pytest_injectivity.stats import PairedRatio, lower_quantile, paired_ratio

Pair = tuple[Shortlists, Shortlists]
"""Of the model and of its reference, on the same prompts."""


def shortlists_of(
    child: LayerGeometry,
    reference: LayerGeometry,
    rows: Int64[np.ndarray, " rows"],
    prompt_distances: Float64[np.ndarray, "rows rows"] | None,
) -> Pair:
    """The shortlists that `ratio_in_halves` looks its numbers up in.

    Args:
        child: the geometry of the model at a layer.
        reference: that of its reference, on the same prompts in the same order.
        rows: indexes of the prompts compared, ascending.
        prompt_distances: of each pair of these prompts, infinite where it is not admissible; None
            compares distances of states instead of ratios.
    """
    chosen = [geometry.take(rows).rows for geometry in (child, reference)]
    own, other = (
        Shortlists.of_distances(one)
        if prompt_distances is None
        else Shortlists.of_ratios(one, prompt_distances)
        for one in chosen
    )
    return own, other


def ratio_in_halves(
    lists: Pair,
    norms: tuple[Float64[np.ndarray, " rows"], Float64[np.ndarray, " rows"]] | None,
    q: float,
    *,
    seed: int,
) -> PairedRatio:
    """The ratio of two lower quantiles over the same prompts, and its spread over halves of them.

    Args:
        lists: the nearest-neighbor distances, or the smallest ratios, of the model and its reference.
        norms: the norms of both models' states, by whose mean in a half its quantile is divided; None
            leaves it in units of the states.
        q: which lower quantile.
        seed: draws the halves.
    """
    own, other = (
        _quantile_among(one, None if norms is None else norms[at], q)
        for at, one in enumerate(lists)
    )
    return paired_ratio(own, other, len(lists[0]), seed=seed)


def _quantile_among(
    lists: Shortlists, norms: Float64[np.ndarray, " rows"] | None, q: float
) -> Callable[[Int64[np.ndarray, " rows"]], float]:
    """The q-quantile of the smallest values among some rows; NaN where fewer than two have one."""

    def number(rows: Int64[np.ndarray, " rows"]) -> float:
        values = lists.minima(rows)
        if len(values) < 2:  # noqa: PLR2004 - a quantile of one row says nothing
            return math.nan
        scale = 1.0 if norms is None else float(norms[rows].mean())
        return lower_quantile(values, q) / scale if scale else math.nan

    return number
