"""Judges whether the co-Lipschitz constant of a layer is at least a bound (SPEC section 2)."""

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_injectivity.audit.judging.arguments import REQUIRED, at_least
from pytest_injectivity.audit.judging.bag import bag_lines
from pytest_injectivity.audit.judging.base import Audited, by_layer
from pytest_injectivity.audit.judging.common import not_finite, pair_line, settled
from pytest_injectivity.audit.judging.quantiles import (
    Quantile,
    Sample,
    judge_quantile,
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


def check_colipschitz_above(
    audit: "Audited",
    layer: LayerSpec | None = None,
    alpha: PerLayer[float] = REQUIRED,
    *,
    q: float = 0.01,
    normalized: bool = False,
    confidence: float | None = None,
    bits: GridLike | None = None,
) -> Verdict:
    """The co-Lipschitz constant ``alpha_{l,q}`` is at least ``alpha`` (SPEC section 2).

    Args:
        audit: the audit whose model is judged.
        layer: the layers judged.
        alpha: state distance per unit of prompt distance; in units of the mean norm when normalized.
        q: the lower quantile of the rows' smallest ratios; 0 is their minimum.
        normalized: divide by the layer's mean norm.
        confidence: judge what the sample proves instead of the point value.
        bits: round the captured states to so many bits first, or to a `Grid` as text.

    Raises:
        LayerError: the model has no such layer.
        OptionError: a number is not accepted, or fewer than two prompts have an admissible
            partner.

    Example:
        >>> audit.check_colipschitz_above(-1, 1e-4, normalized=True).passed
        True
    """
    asked = quantile(q, normalized, confidence, bits)
    bounds = by_layer(audit, "alpha", at_least("alpha", alpha), layer)
    judged = [judge_colipschitz(audit.measurements, one, bounds[one], asked) for one in bounds]
    return audit.verdict("colipschitz_above", settled(judged, confidence))


def judge_colipschitz(
    measured: "Measurements", layer: Layer, bound: float, asked: Quantile
) -> tuple[Reason, tuple[float, float]]:
    """The reason a layer contributes to ``colipschitz_above``, and its p-values."""
    from pytest_injectivity.geometry.layer import smallest_ratio

    quantity = named("co-Lipschitz constant", asked)
    if reason := not_finite(measured, layer, quantity, bound):
        return reason, (1.0, 0.0)
    geometry = measured.geometry(layer, bits=asked.grid)
    ratios = geometry.colipschitz_rows
    left, right = smallest_ratio(ratios)
    metric = measured.target.config.prompt_metric
    what = f"smallest ratio {show(float(ratios.ratio[left]))} ({metric})"
    line = pair_line(measured, geometry, left, right, what)
    sample = Sample.of_ratios(
        quantity, ratios, (line, *scale_lines(measured, layer, geometry, asked))
    )
    bag = bag_lines(measured, geometry, "colipschitz", sample.values, asked)
    sample = replace(sample, evidence=(*sample.evidence, *bag))
    return judge_quantile(sample, geometry, bound, asked)
