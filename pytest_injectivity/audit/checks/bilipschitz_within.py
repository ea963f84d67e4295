"""Judges whether a layer's distortion, upper over lower Lipschitz constant, is at most a bound."""

import math
from typing import TYPE_CHECKING

from pytest_injectivity.audit.judging.arguments import REQUIRED, at_most, fraction
from pytest_injectivity.audit.judging.base import Audited, by_layer
from pytest_injectivity.audit.judging.common import not_finite
from pytest_injectivity.core.layers import Layer, LayerSpec, layer_id
from pytest_injectivity.core.numbers import show, show_up
from pytest_injectivity.core.text import number_of
from pytest_injectivity.core.tolerances import PerLayer
from pytest_injectivity.results.verdict import Reason, Verdict, judge

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.measurements import Measurements


def check_bilipschitz_within(
    audit: "Audited",
    layer: LayerSpec | None = None,
    distortion: PerLayer[float] = REQUIRED,
    *,
    q: float = 0.01,
) -> Verdict:
    """Upper over lower Lipschitz constant is at most ``distortion`` (SPEC section 2).

    Args:
        audit: the audit whose model is judged.
        layer: the layers judged; None: those of the config.
        distortion: the largest ``A_l / alpha_l`` accepted.
        q: both constants leave this share of rows out.

    Raises:
        LayerError: the model has no such layer.
        OptionError: a number is not accepted.

    Example:
        >>> audit.check_bilipschitz_within(-1, 1e6).passed
        True
    """
    q = fraction("q", q)
    bounds = by_layer(audit, "distortion", at_most("distortion", distortion), layer)
    return audit.verdict(
        "bilipschitz_within",
        [judge_distortion(audit.measurements, one, bounds[one], q) for one in bounds],
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
            f"over {number_of(len(edits.ratio), 'prompt')} with one token changed (the set"
            " has no such pair)"
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
        would_pass=(
            f"a distortion of at least {show_up(distortion)}"
            if math.isfinite(distortion)
            else "no distortion: it is not finite"
        ),
    )
