"""Judges whether the separation margin of a layer is at least a bound (SPEC section 2)."""

from typing import TYPE_CHECKING

from pytest_injectivity.audit.judging.arguments import REQUIRED, at_least
from pytest_injectivity.audit.judging.bag import bag_lines
from pytest_injectivity.audit.judging.base import Audited, by_layer
from pytest_injectivity.audit.judging.common import not_finite, pair_line, settled
from pytest_injectivity.audit.judging.quantiles import (
    Quantile,
    Sample,
    judge_quantile,
    judge_quantile_by_index,
    named,
    quantile,
    scale_lines,
)
from pytest_injectivity.core.layers import Layer, LayerSpec
from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.tolerances import PerLayer
from pytest_injectivity.quantization.grid import GridLike
from pytest_injectivity.results.verdict import Reason, Verdict

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.measurements import Measurements


def check_margin_above(
    audit: "Audited",
    layer: LayerSpec | None = None,
    margin: PerLayer[float] = REQUIRED,
    *,
    q: float = 0.01,
    normalized: bool = False,
    confidence: float | None = None,
    bits: GridLike | None = None,
) -> Verdict:
    """The separation margin ``m_{l,q}`` is at least ``margin`` (SPEC section 2).

    Args:
        audit: the audit whose model is judged.
        layer: the layers judged.
        margin: the bound, in the states' units, or in units of the mean norm when normalized.
        q: the lower quantile of nearest-neighbor distances; 0 is their minimum.
        normalized: divide by the layer's mean norm.
        confidence: judge what the sample proves instead of the point value.
        bits: round the captured states to so many bits first, or to a `Grid` as text.

    Raises:
        LayerError: the model has no such layer.
        OptionError: a number is not accepted.

    Example:
        >>> bool(audit.check_margin_above(-1, 0.01, normalized=True))
        True
        >>> audit.check_margin_above(-1, 1e9).status
        <Status.FAIL: 'FAIL'>
    """
    asked = quantile(q, normalized, confidence, bits)
    bounds = by_layer(audit, "margin", at_least("margin", margin), layer)
    judged = [judge_margin(audit.measurements, one, bounds[one], asked) for one in bounds]
    return audit.verdict("margin_above", settled(judged, confidence))


def judge_margin(
    measured: "Measurements", layer: Layer, bound: float, asked: Quantile
) -> tuple[Reason, tuple[float, float]]:
    """The reason a layer contributes to ``margin_above``, and its p-values."""
    quantity = named("separation margin", asked)
    if reason := not_finite(measured, layer, quantity, bound):
        return reason, (1.0, 0.0)
    geometry = measured.geometry(layer, bits=asked.grid)
    nearest = geometry.nearest
    worst = int(nearest.distance.argmin())
    left, right, distance = worst, int(nearest.index[worst]), float(nearest.distance[worst])
    if nearest.recall is not None:
        closest = geometry.closest
        left, right, distance = closest.left, closest.right, closest.distance
    what = f"closest pair, distance {show(distance)}"
    line = pair_line(measured, geometry, left, right, what)
    evidence = (
        line,
        *scale_lines(measured, layer, geometry, asked),
        *bag_lines(measured, geometry, "margin", nearest.distance, asked),
    )
    sample = Sample(quantity, nearest.distance, nearest.index, evidence)
    if nearest.recall is None:
        return judge_quantile(sample, geometry, bound, asked)
    return judge_quantile_by_index(sample, geometry, bound, asked)
