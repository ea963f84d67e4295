"""Judges a quantile of margins or of co-Lipschitz ratios of one layer by a bound (SPEC section 2)."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pytest_injectivity.audit.judging.arguments import flag, fraction, optional_confidence
from pytest_injectivity.audit.judging.common import resolution_line
from pytest_injectivity.core.layers import Layer, layer_id
from pytest_injectivity.core.numbers import show, show_down
from pytest_injectivity.core.shapes import Float64, Int64
from pytest_injectivity.core.text import number_of, verb
from pytest_injectivity.quantization.grid import Grid, GridLike
from pytest_injectivity.results.verdict import Reason, Status, judge
from pytest_injectivity.stats import (
    clopper_pearson,
    lower_quantile,
    quantile_interval,
    quantile_p_values,
)

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.measurements import Measurements
    from pytest_injectivity.geometry.layer import LayerGeometry
    from pytest_injectivity.geometry.search.ratios import Ratios

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Quantile:
    """Which quantile of which quantity is judged.

    Attributes:
        q: the lower quantile; 0 is the minimum.
        normalized: in units of the layer's mean norm.
        confidence: the level of the interval, and of the gate where one was given.
        grid: the grid of post-hoc activation quantization; None for the states as they are.
    """

    q: float
    normalized: bool
    confidence: float | None
    grid: Grid | None


@dataclass(frozen=True)
class Sample:
    """The values of a layer's rows, their partners, and the lines of evidence on them."""

    quantity: str
    values: Float64[np.ndarray, " rows"]
    partner: Int64[np.ndarray, " rows"]
    evidence: tuple[str, ...]

    @classmethod
    def of_ratios(cls, quantity: str, ratios: "Ratios", evidence: Sequence[str]) -> "Sample":
        """The smallest ratios of the rows that have an admissible partner; it is said who has none.

        Raises:
            OptionError: fewer than two have one.
        """
        from pytest_injectivity.geometry.layer import partnered_ratios, partners_among

        values = partnered_ratios(ratios)
        alone, every = len(ratios.ratio) - len(values), number_of(len(ratios.ratio), "prompt")
        said = [f"{alone} of {every} {verb(alone, 'has', 'have')} no admissible partner"]
        return cls(quantity, values, partners_among(ratios), (*evidence, *(said if alone else [])))


def judge_quantile(
    sample: Sample, geometry: "LayerGeometry", bound: float, asked: Quantile
) -> tuple[Reason, tuple[float, float]]:
    """Judge a layer by a quantile of its rows' values: the reason and its p-values."""
    # A layer that is zero everywhere has no normalized values: NaN fails.
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


def judge_quantile_by_index(
    sample: Sample, geometry: "LayerGeometry", bound: float, asked: Quantile
) -> tuple[Reason, tuple[float, float]]:
    """Judge a layer by distances from an approximate index, which are upper bounds of the true ones.

    Upper bounds can fail a gate and cannot pass it. A pass is therefore judged on a pessimistic
    sample: as many rows as the index may have missed, by its recall, those of the largest
    distances, are given the smallest distance.
    """
    closest, recall = geometry.closest, geometry.nearest.recall
    assert recall is not None  # noqa: S101 - only an index has a recall
    high = sample.values.copy()
    high[[closest.left, closest.right]] = closest.distance
    missed = 1.0 - clopper_pearson(recall.found, recall.sample, _CONFIDENCE).low
    low = high.copy()
    low[np.argsort(high)[len(high) - math.ceil(missed * len(high)) :]] = closest.distance
    line = (
        f"nearest rows by an index that finds the nearest of {recall.found} of {recall.sample}"
        " rows: their distances are upper bounds, the closest pair is exact"
    )
    upper, (_, fails) = judge_quantile(
        replace(sample, values=high, evidence=(*sample.evidence, line)), geometry, bound, asked
    )
    lower, (passes, _) = judge_quantile(replace(sample, values=low), geometry, bound, asked)
    status = upper.status
    if status is Status.PASS and lower.status is not Status.PASS:
        status = Status.INSUFFICIENT
    return replace(upper, status=status, would_pass=lower.would_pass), (passes, fails)


def _would_pass(
    sample: Sample, values: Float64[np.ndarray, " rows"], value: float, asked: Quantile
) -> str:
    """The largest bound that passes, rounded down, so that the bound printed does pass."""
    if math.isnan(value):
        return "no bound: the value is not a number"
    if asked.confidence is None:
        return f"a bound of at most {show_down(value)}"
    ordered = np.sort(values)
    level = 1.0 - asked.confidence
    proved = bisect_right(
        ordered,
        level,
        key=lambda bound: quantile_p_values(values, asked.q, float(bound), sample.partner)[0],
    )
    if not proved:
        return f"no bound: {number_of(len(values), 'prompt')} prove none at {100 * asked.confidence:g}%"
    return f"a bound of at most {show_down(ordered[proved - 1])} for this layer alone"


def named(quantity: str, asked: Quantile) -> str:
    """Name a quantity, with its quantile and how it was normalized and rounded."""
    said = "min" if asked.q == 0 else f"q={asked.q:g}"
    said += ", normalized" if asked.normalized else ""
    return f"{quantity} ({said}{f', {asked.grid.words}' if asked.grid is not None else ''})"


def scale_lines(
    measured: "Measurements", layer: Layer, geometry: "LayerGeometry", asked: Quantile
) -> list[str]:
    """Lines on how many prompts there are, how long their states are, and how they were rounded."""
    norms = f"mean norm {show(geometry.mean_norm)}, median norm {show(geometry.median_norm)}"
    lines = [f"N = {len(geometry)}, {norms}"]
    if asked.grid is not None and not asked.grid.plain:
        lines.append(f"scale of the grid: {asked.grid.source(len(geometry))}")
    if asked.grid is None:
        lines.append(resolution_line(measured.resolution(layer)))
    return lines


def quantile(
    q: float,
    normalized: bool,  # noqa: FBT001 - named at every public call
    confidence: float | None,
    bits: GridLike | None,
) -> Quantile:
    """Read the arguments that say which quantile is judged.

    Raises:
        OptionError: a number is not accepted.
    """
    return Quantile(
        fraction("q", q),
        flag("normalized", normalized),
        optional_confidence(confidence),
        None if bits is None else Grid.parse(bits),
    )
