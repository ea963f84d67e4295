"""Judges the separation margin of states that a serving engine wrote."""

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


def check_served_margin_above(
    audit: "Audited",
    layer: LayerSpec | None = None,
    margin: PerLayer[float] = REQUIRED,
    *,
    q: float = 0.01,
    normalized: bool = False,
    confidence: float | None = None,
) -> Verdict:
    """The separation margin of the last states in ``--injx-states`` is at least ``margin``.

    As ``assert_margin_above``, of the rows of the files: nothing is captured. States that are not what
    is claimed fail first (SPEC section 9).

    Args:
        audit: the audit whose model they are claimed to be of.
        layer: the layers judged; None: all that the files hold.
        margin: the bound, in the states' units, or in units of the mean norm when normalized.
        q: the lower quantile of nearest-neighbor distances; 0 is their minimum.
        normalized: divide by the layer's mean norm.
        confidence: judge what the sample proves instead of the point value.

    Raises:
        LayerError: the model has no such layer.
        OptionError: a number is not accepted, no states are named, there are fewer than two prompts, or
            they hold no such layer.

    Example:
        >>> audit.check_served_margin_above(margin=0.1)
        Traceback (most recent call last):
        pytest_injectivity.errors.OptionError: no states captured elsewhere are named: ...
    """
    asked = quantile(q, normalized, confidence, None)
    bounds = served_bounds(audit, "margin", at_least("margin", margin), layer)
    reasons = judge_served(audit, bounds, asked, _nearest, "separation margin")
    return audit.verdict("served_margin_above", reasons)


def _nearest(measured: "Measurements", geometry: "LayerGeometry", quantity: str) -> Sample:
    """The distance of each row to the nearest other one."""
    nearest = geometry.nearest
    worst = int(nearest.distance.argmin())
    what = f"closest pair, distance {show(float(nearest.distance[worst]))}"
    line = served_pair_line(measured, geometry, (worst, int(nearest.index[worst])), what)
    evidence = (line, *served_lines(measured, geometry))
    return Sample(quantity, nearest.distance, nearest.index, evidence)
