"""Judges how far a model's states drifted from its parent's at one layer."""

import math
from typing import TYPE_CHECKING

import numpy as np

from pytest_injectivity.audit.comparisons.basis import basis_of
from pytest_injectivity.audit.judging.arguments import REQUIRED, at_most, fraction
from pytest_injectivity.audit.judging.base import (
    Audited,
    against_reference,
    by_layer,
    compared,
    with_embedding,
)
from pytest_injectivity.audit.judging.retained import lost_rows
from pytest_injectivity.core.layers import Layer, LayerSpec, layer_id
from pytest_injectivity.core.numbers import show, show_up
from pytest_injectivity.core.text import number_of
from pytest_injectivity.core.tolerances import PerLayer
from pytest_injectivity.reference.basis import BasisKind
from pytest_injectivity.results.verdict import Reason, Verdict, judge
from pytest_injectivity.stats import upper_quantile

if TYPE_CHECKING:
    from pytest_injectivity.audit.comparisons.against import Against

_QUANTITY = "drift"
_NAMED = 3


def check_state_drift_below(
    audit: "Audited",
    layer: LayerSpec | None = None,
    relative: PerLayer[float] = REQUIRED,
    *,
    q: float = 0.01,
) -> Verdict:
    """The model's states lie near its parent's: ``||h - h'|| / ||h'||``, h' the parent's.

    Where they are the parent's in another basis (quantization by rotation), they are brought to the
    parent's basis first, and the verdict says so.

    Args:
        audit: the audit whose model is judged.
        layer: the layers judged; None: layer 0 and those of the config.
        relative: the largest drift accepted.
        q: the share of prompts left out, those that drift most; 0 judges the largest drift.

    Raises:
        LayerError: the model has no such layer.
        OptionError: a number is not accepted, no reference is named, or it is no parent.

    Example:
        >>> coarse = audit.in_precision(dtype="bfloat16")
        >>> coarse.check_state_drift_below(-1, 0.5).passed
        True
    """
    q = fraction("q", q)
    bounds = by_layer(
        audit, "relative", at_most("relative", relative), with_embedding(audit, layer, relative)
    )
    against = compared(audit, bounds)
    reasons = [judge_drift(against, one, bounds[one], q) for one in bounds]
    bases = {one: basis_of(against, one) for one in bounds if not any(against.not_finite(one))}
    turned = [one for one, basis in bases.items() if basis.kind is BasisKind.ROTATED]
    notes = [f"{layer_id(one)}: {bases[one].words}" for one in turned[:_NAMED]]
    more = len(turned) - _NAMED
    notes += [f"… and {number_of(more, 'more layer')} in another basis"] if more > 0 else []
    return against_reference(audit, "state_drift_below", bounds, reasons, notes=notes)


def judge_drift(against: "Against", layer: Layer, bound: float, q: float) -> Reason:
    """The reason a layer contributes to ``state_drift_below``.

    Args:
        against: the model and its parent.
        layer: the layer.
        bound: the largest ``||h - h'|| / ||h'||`` accepted.
        q: the share of prompts left out, those that drift most.
    """
    quantity = f"{_QUANTITY} ({'max' if q == 0 else f'{100 * (1 - q):g} %'})"
    if reason := lost_rows(against, layer, quantity, bound):
        return reason
    drift = against.drift(layer)
    value = upper_quantile(drift.relative, q)
    worst = int(np.argmax(drift.relative))
    median, largest = float(np.median(drift.relative)), float(drift.relative[worst])
    mean, least = float(drift.cosine.mean()), float(drift.cosine.min())
    return Reason(
        where=layer_id(layer),
        status=judge(value, "<=", bound),
        quantity=quantity,
        value=value,
        bound=bound,
        relation="<=",
        evidence=(
            (
                f"of the parent's norm: median {show(median)}, max {show(largest)};"
                f" cosine: mean {show(mean)}, min {show(least)}; N = {len(drift.relative)}"
            ),
            f"most drifted, {show(largest)}: {against.child.target.name_of(worst)}",
            *filter(None, [basis_of(against, layer).words]),
        ),
        would_pass=(
            f"relative of at least {show_up(value)}"
            if math.isfinite(value)
            else "no bound: a state of the parent is 0 where the model's is not"
        ),
        figures={
            name: one
            for name, one in (
                ("median", median),
                ("max", largest),
                ("cosine_mean", mean),
                ("cosine_min", least),
            )
            if math.isfinite(one)
        },
    )
