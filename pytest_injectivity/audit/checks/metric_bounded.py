"""Any metric of a layer is at least, or at most, a bound.

Every row of `METRICS` can be asserted by its name, so that a new metric needs no check of its own.
"""

import math
from typing import TYPE_CHECKING

from pytest_injectivity.audit.judging import arguments
from pytest_injectivity.audit.judging.arguments import REQUIRED
from pytest_injectivity.audit.judging.base import Audited, by_layer
from pytest_injectivity.audit.judging.common import not_finite
from pytest_injectivity.core.layers import Layer, LayerSpec, layer_id
from pytest_injectivity.core.numbers import show_down, show_up
from pytest_injectivity.core.tolerances import PerLayer
from pytest_injectivity.errors import OptionError
from pytest_injectivity.quantization.grid import Grid, GridLike
from pytest_injectivity.results.metrics import METRICS, metric_of
from pytest_injectivity.results.verdict import Reason, Relation, Verdict, judge

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.measurements import Measurements


def check_metric_bounded(
    audit: "Audited",
    layer: LayerSpec | None = None,
    metric: str = REQUIRED,
    *,
    at_least: PerLayer[float] | None = None,
    at_most: PerLayer[float] | None = None,
    bits: GridLike | None = None,
) -> Verdict:
    """A number of the table of layers is on the right side of a bound.

    Args:
        audit: the audit whose model is judged.
        layer: the layers judged.
        metric: the metric's name, as in the JSON report, such as ``mean_norm``; a metric with a number
            for each rung of a ladder is named with its rung: ``near_fractions 0.01``.
        at_least: the smallest value accepted; give this or ``at_most``.
        at_most: the largest value accepted.
        bits: round the captured states to so many bits first, or to a `Grid` as text.

    Raises:
        LayerError: the model has no such layer.
        OptionError: there is no such metric, or not exactly one bound is given, or it is not accepted.

    Example:
        >>> audit.check_metric_bounded(-1, "collisions", at_most=0).first_line
        'PASS metric_bounded: layer04: collisions 0, meets <= 0'
        >>> bool(audit.check_metric_bounded(-1, "margin_q", at_least=1e9))
        False
    """
    _check_name(metric)
    relation, given = _bound(at_least, at_most)
    bounds = by_layer(audit, "at_least" if relation == ">=" else "at_most", given, layer)
    grid = None if bits is None else Grid.parse(bits)
    reasons = [
        judge_metric(audit.measurements, one, metric, relation, bounds[one], grid=grid)
        for one in bounds
    ]
    return audit.verdict("metric_bounded", reasons)


def judge_metric(
    measured: "Measurements",
    layer: Layer,
    metric: str,
    relation: Relation,
    bound: float,
    *,
    grid: Grid | None,
) -> Reason:
    """The reason a layer contributes to ``metric_bounded``."""
    if lost := not_finite(measured, layer, metric, bound):
        return lost
    found = measured.layer_summary(layer, grid)[metric]
    value = math.nan if found is None else found
    return Reason(
        where=layer_id(layer),
        status=judge(value, relation, bound),
        quantity=metric,
        value=value,
        bound=bound,
        relation=relation,
        headline=f"{metric} was not measured" if found is None else "",
        evidence=(f"{metric_of(metric).meaning}, N = {len(measured.target.prompts)}",),
        would_pass="" if math.isnan(value) else f"a bound of {_passing(value, relation)}",
    )


def _passing(value: float, relation: Relation) -> str:
    return f"at most {show_down(value)}" if relation == ">=" else f"at least {show_up(value)}"


def _check_name(metric: object) -> None:
    if not isinstance(metric, str):
        names = ", ".join(one.name for one in METRICS)
        raise OptionError(f"metric={metric!r} names no metric: give one of {names}")
    metric_of(metric)


def _bound(
    at_least: PerLayer[float] | None, at_most: PerLayer[float] | None
) -> tuple[Relation, PerLayer[float]]:
    if (at_least is None) == (at_most is None):
        raise OptionError(
            f"at_least={at_least!r}, at_most={at_most!r}: give exactly one of the two"
        )
    if at_least is not None:
        return ">=", arguments.at_least("at_least", at_least)
    return "<=", arguments.at_most("at_most", at_most)  # type: ignore[arg-type] # one of them is given
