"""Judges the co-Lipschitz constant of states that a serving engine wrote."""

from typing import TYPE_CHECKING

from pytest_injectivity.audit.judging.arguments import REQUIRED, at_least
from pytest_injectivity.audit.judging.base import Audited
from pytest_injectivity.audit.judging.quantiles import Sample, quantile
from pytest_injectivity.audit.judging.served import (
    judge_served,
    served_bounds,
    served_lines,
    served_pair_line,
)
from pytest_injectivity.core.layers import LayerSpec
from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.tolerances import PerLayer
from pytest_injectivity.results.verdict import Verdict

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.measurements import Measurements
    from pytest_injectivity.geometry.layer import LayerGeometry


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
    reasons = judge_served(audit, bounds, asked, _ratios, "co-Lipschitz constant")
    return audit.verdict("served_colipschitz_above", reasons)


def _ratios(measured: "Measurements", geometry: "LayerGeometry", quantity: str) -> Sample:
    """The smallest ratio of each row that has an admissible partner."""
    from pytest_injectivity.geometry.layer import smallest_ratio

    ratios = geometry.colipschitz_rows
    pair = smallest_ratio(ratios)
    what = f"smallest ratio {show(float(ratios.ratio[pair[0]]))}"
    line = served_pair_line(measured, geometry, pair, what)
    return Sample.of_ratios(quantity, ratios, (line, *served_lines(measured, geometry)))
