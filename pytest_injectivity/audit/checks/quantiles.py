"""Margins and co-Lipschitz constants of one layer, held against a bound (SPEC section 2)."""

import math
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pytest_injectivity.audit.checks.common import noise_line, not_finite, pair_line
from pytest_injectivity.core.layers import Layer, layer_id
from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.shapes import Float64, Int64
from pytest_injectivity.quantization.grid import Grid
from pytest_injectivity.results.verdict import Reason, Status, judge
from pytest_injectivity.stats import (
    clopper_pearson,
    lower_quantile,
    quantile_interval,
    quantile_p_values,
)

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements import Measurements
    from pytest_injectivity.geometry.layer import LayerGeometry
    from pytest_injectivity.geometry.search.ratios import Ratios

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Quantile:
    """Which quantile of which quantity is judged.

    Attributes:
        q: the lower quantile; 0 is the minimum.
        normalized: in units of the layer's mean norm.
        confidence: of the interval, and of the gate where it was given.
        grid: of post-hoc activation quantization, None for the states as they are.
    """

    q: float
    normalized: bool
    confidence: float | None
    grid: Grid | None


@dataclass(frozen=True)
class _Sample:
    """The values of a layer's rows, and what to say of them."""

    quantity: str
    values: Float64[np.ndarray, " rows"]
    partner: Int64[np.ndarray, " rows"]
    evidence: tuple[str, ...]


def judge_margin(
    measured: "Measurements", layer: Layer, bound: float, asked: Quantile
) -> tuple[Reason, tuple[float, float]]:
    """The reason a layer contributes to ``margin_above``, and its p-values."""
    quantity = _named("separation margin", asked)
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
    evidence = (line, *_scale_lines(measured, layer, geometry, asked))
    sample = _Sample(quantity, nearest.distance, nearest.index, evidence)
    if nearest.recall is None:
        return _judged(sample, geometry, bound, asked)
    return _judged_by_index(sample, geometry, bound, asked)


def judge_colipschitz(
    measured: "Measurements", layer: Layer, bound: float, asked: Quantile
) -> tuple[Reason, tuple[float, float]]:
    """The reason a layer contributes to ``colipschitz_above``, and its p-values."""
    from pytest_injectivity.geometry.layer import partnered_ratios

    quantity = _named("co-Lipschitz constant", asked)
    if reason := not_finite(measured, layer, quantity, bound):
        return reason, (1.0, 0.0)
    geometry = measured.geometry(layer, bits=asked.grid)
    ratios = geometry.colipschitz_rows
    values = partnered_ratios(ratios)
    worst = int(np.nanargmin(ratios.ratio))
    line = pair_line(
        measured,
        geometry,
        worst,
        int(ratios.partner[worst]),
        f"smallest ratio {show(float(ratios.ratio[worst]))} ({measured.config.prompt_metric})",
    )
    alone = len(ratios.ratio) - len(values)
    lines = [line, *_scale_lines(measured, layer, geometry, asked)]
    if alone:
        lines.append(f"{alone} of {len(ratios.ratio)} prompts have no admissible partner")
    return _judged(
        _Sample(quantity, values, _among_partnered(ratios), tuple(lines)), geometry, bound, asked
    )


def judge_distortion(measured: "Measurements", layer: Layer, bound: float, q: float) -> Reason:
    """The reason a layer contributes to ``bilipschitz_within``: ``A_l / alpha_l`` against a bound."""
    from pytest_injectivity.geometry.layer import partnered_ratios
    from pytest_injectivity.stats import upper_quantile

    quantity = f"distortion (q={q:g})"
    if reason := not_finite(measured, layer, quantity, bound):
        return reason
    geometry = measured.geometry(layer)
    alpha = geometry.colipschitz(q)
    if measured.has_minimal_edit:
        upper, source = geometry.upper_lipschitz(q), "over the set's own pairs"
    else:
        edits = measured.minimal_edits(layer)
        upper = upper_quantile(partnered_ratios(edits), q)
        source = (
            f"over {len(edits.ratio)} prompts with one token changed (the set has no such pair)"
        )
    distortion = upper / alpha if alpha > 0 else float("inf")
    return Reason(
        where=layer_id(layer),
        status=judge(distortion, "<=", bound),
        quantity=quantity,
        value=distortion,
        bound=bound,
        relation="<=",
        evidence=(
            f"co-Lipschitz constant {show(alpha)}, upper Lipschitz constant {show(upper)} {source}",
        ),
        # Unrounded: a bound that is said to pass does.
        would_pass=(
            f"a distortion of at least {distortion!r}"
            if math.isfinite(distortion)
            else "no distortion: it is not finite"
        ),
    )


def _judged(
    sample: _Sample, geometry: "LayerGeometry", bound: float, asked: Quantile
) -> tuple[Reason, tuple[float, float]]:
    # A layer that is zero everywhere has no normalised values: NaN fails.
    scale = (geometry.mean_norm or math.nan) if asked.normalized else 1.0
    values = sample.values / scale
    value = lower_quantile(values, asked.q)
    reason = Reason(
        where=layer_id(geometry.layer),
        status=judge(value, ">=", bound),
        quantity=sample.quantity,
        value=value,
        bound=bound,
        relation=">=",
        evidence=sample.evidence,
        interval=quantile_interval(
            values, asked.q, asked.confidence or _CONFIDENCE, sample.partner
        ),
        would_pass=_would_pass(sample, values, value, asked),
    )
    if asked.confidence is None:
        return reason, (1.0, 1.0)
    return reason, quantile_p_values(values, asked.q, bound, sample.partner)


def _judged_by_index(
    sample: _Sample, geometry: "LayerGeometry", bound: float, asked: Quantile
) -> tuple[Reason, tuple[float, float]]:
    """Distances that an index found are upper bounds: they can fail a gate, not pass it.

    What can is the same sample with as many of its largest distances put down to the smallest as
    the recall leaves in doubt.
    """
    closest, recall = geometry.closest, geometry.nearest.recall
    assert recall is not None  # noqa: S101 - it is why this was called
    high = sample.values.copy()
    high[[closest.left, closest.right]] = closest.distance
    missed = 1.0 - clopper_pearson(recall.found, recall.sample, _CONFIDENCE).low
    low = high.copy()
    low[np.argsort(high)[len(high) - math.ceil(missed * len(high)) :]] = closest.distance
    line = (
        f"nearest rows by an index that finds the nearest of {recall.found} of {recall.sample}"
        " rows: their distances are upper bounds, the closest pair is exact"
    )
    upper, (_, fails) = _judged(
        replace(sample, values=high, evidence=(*sample.evidence, line)), geometry, bound, asked
    )
    lower, (passes, _) = _judged(replace(sample, values=low), geometry, bound, asked)
    status = upper.status
    if status is Status.PASS and lower.status is not Status.PASS:
        status = Status.INSUFFICIENT
    return replace(upper, status=status, would_pass=lower.would_pass), (passes, fails)


def _would_pass(
    sample: _Sample, values: Float64[np.ndarray, " rows"], value: float, asked: Quantile
) -> str:
    """The largest bound that passes, unrounded: a bound that is said to pass does."""
    if math.isnan(value):
        return "no bound: the value is not a number"
    if asked.confidence is None:
        return f"a bound of at most {value!r}"
    ordered = np.sort(values)
    level = 1.0 - asked.confidence
    proved = bisect_right(
        ordered,
        level,
        key=lambda bound: quantile_p_values(values, asked.q, float(bound), sample.partner)[0],
    )
    if not proved:
        return f"no bound: {len(values)} prompts prove none at {100 * asked.confidence:g}%"
    return f"a bound of at most {float(ordered[proved - 1])!r} for this layer alone"


def _among_partnered(ratios: "Ratios") -> Int64[np.ndarray, " partnered"]:
    """Each partnered row's partner, counted among the partnered rows."""
    place = np.cumsum(ratios.partnered) - 1
    partner: Int64[np.ndarray, " partnered"] = place[ratios.partner[ratios.partnered]]
    return partner


def _named(quantity: str, asked: Quantile) -> str:
    said = "min" if asked.q == 0 else f"q={asked.q:g}"
    said += ", normalised" if asked.normalized else ""
    return f"{quantity} ({said}{f', {asked.grid.words}' if asked.grid is not None else ''})"


def _scale_lines(
    measured: "Measurements", layer: Layer, geometry: "LayerGeometry", asked: Quantile
) -> list[str]:
    norms = f"mean norm {show(geometry.mean_norm)}, median norm {show(geometry.median_norm)}"
    lines = [f"N = {len(geometry)}, {norms}"]
    if asked.grid is not None and not asked.grid.plain:
        lines.append(f"scale of the grid: {asked.grid.source(len(geometry))}")
    if asked.grid is None:
        lines.append(noise_line(measured, layer))
    return lines
