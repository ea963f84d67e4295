"""Judges the co-Lipschitz constant of states that a serving engine wrote."""

from typing import TYPE_CHECKING

import numpy as np

from pytest_injectivity.audit.judging.arguments import REQUIRED, at_least
from pytest_injectivity.audit.judging.base import Audited
from pytest_injectivity.audit.judging.common import settled
from pytest_injectivity.audit.judging.quantiles import (
    Quantile,
    Sample,
    judge_quantile,
    named,
    quantile,
)
from pytest_injectivity.audit.judging.served import (
    not_as_claimed,
    not_finite_anywhere,
    served_bounds,
    served_lines,
    served_pair_line,
)
from pytest_injectivity.core.layers import Layer, LayerSpec
from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.tolerances import PerLayer
from pytest_injectivity.results.verdict import Reason, Verdict

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.measurements import Measurements


def check_served_colipschitz_above(
    audit: "Audited",
    layer: LayerSpec | None = None,
    alpha: PerLayer[float] = REQUIRED,
    *,
    q: float = 0.01,
    normalized: bool = False,
    confidence: float | None = None,
) -> Verdict:
    """The co-Lipschitz constant of the last states in ``--injx-states`` is at least ``alpha``.

    As ``assert_colipschitz_above``, of the rows of the files: nothing is captured. States that are not
    what is claimed fail first (SPEC section 9).

    Args:
        audit: the audit whose model they are claimed to be of.
        layer: the layers judged; None: all that the files hold.
        alpha: state distance per unit of prompt distance; in units of the mean norm when normalized.
        q: the lower quantile of the rows' smallest ratios; 0 is their minimum.
        normalized: divide by the layer's mean norm.
        confidence: judge what the sample proves instead of the point value.

    Raises:
        LayerError: the model has no such layer.
        OptionError: a number is not accepted, no states are named, they hold no such layer, or fewer
            than two prompts have an admissible partner.

    Example:
        >>> audit.check_served_colipschitz_above(alpha=0.1)
        Traceback (most recent call last):
        pytest_injectivity.errors.OptionError: no states captured elsewhere are named: ...
    """
    asked = quantile(q, normalized, confidence, None)
    bounds = served_bounds(audit, "alpha", at_least("alpha", alpha), layer)
    measured, quantity = audit.measurements, named("co-Lipschitz constant", asked)
    if lost := not_as_claimed(measured, bounds, quantity, min(bounds.values()), ">="):
        return audit.verdict("served_colipschitz_above", lost)
    judged = [
        judge_served_colipschitz(measured, one, bound, asked) for one, bound in bounds.items()
    ]
    return audit.verdict("served_colipschitz_above", settled(judged, confidence))


def judge_served_colipschitz(
    measured: "Measurements", layer: Layer, bound: float, asked: Quantile
) -> tuple[Reason, tuple[float, float]]:
    """The reason a layer contributes to ``served_colipschitz_above``, and its p-values."""
    from pytest_injectivity.geometry.layer import partnered_ratios

    quantity = named("co-Lipschitz constant", asked)
    if reason := not_finite_anywhere(measured, layer, quantity, bound, ">="):
        return reason, (1.0, 0.0)
    geometry = measured.served_geometry(layer)
    ratios = geometry.colipschitz_rows
    values = partnered_ratios(ratios)
    worst = int(np.nanargmin(ratios.ratio))
    what = f"smallest ratio {show(float(ratios.ratio[worst]))}"
    pair = worst, int(ratios.partner[worst])
    evidence = (
        served_pair_line(measured, geometry, pair, what),
        *served_lines(measured, geometry),
    )
    place = np.cumsum(ratios.partnered) - 1
    partner = place[ratios.partner[ratios.partnered]]
    return judge_quantile(Sample(quantity, values, partner, evidence), geometry, bound, asked)
