"""Judges whether states that a serving engine wrote are those of the audited model (SPEC section 9)."""

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_injectivity.audit.judging.arguments import at_most
from pytest_injectivity.audit.judging.base import Audited
from pytest_injectivity.audit.judging.served import (
    not_as_claimed,
    sample_line,
    sample_of,
    served_layers,
)
from pytest_injectivity.audit.measurements.served_sample import parent_distance
from pytest_injectivity.core.layers import Layer, LayerSpec, layer_id
from pytest_injectivity.core.numbers import show, show_up
from pytest_injectivity.core.tolerances import PerLayer, by_layer
from pytest_injectivity.results.verdict import Reason, Status, Verdict, judge

if TYPE_CHECKING:
    from pytest_injectivity.audit.comparisons.comparisons import Comparisons
    from pytest_injectivity.audit.measurements.measurements import Measurements

_QUANTITY = "distance from the audited model"
_CLEARLY = 0.5
_CHECK = "served_as_audited"
_NO_BOUND = "no bound: the engine serves the reference, not the audited model"


def check_served_as_audited(
    audit: "Audited",
    layer: LayerSpec | None = None,
    relative: PerLayer[float] | None = None,
) -> Verdict:
    """The states in ``--injx-states`` are those of the audited model: what is served was audited.

    The states of a sample of prompts are held against the model's own, position by position. What is
    not as the files claim is named, with what it looks like instead: another layer, the other side of
    the norm, no residual, padding, another order, another dtype, a rounded cache of keys and values,
    another model (SPEC section 9). With ``--injx-reference``, states nearer to the reference's than to
    the model's fail too: the engine serves the parent.

    Args:
        audit: the audit whose model is judged.
        layer: the layers judged; None: all that the files hold.
        relative: the largest median of ``||h - h'|| / ||h'||``, ``h'`` the model's; None: what the
            resolution of the audit and the coarser of both dtypes explain.

    Raises:
        LayerError: the model has no such layer.
        OptionError: no states are named, they are not accepted, or hold no such layer.

    Example:
        >>> audit.check_served_as_audited()
        Traceback (most recent call last):
        pytest_injectivity.errors.OptionError: no states captured elsewhere are named: ...
    """
    layers = served_layers(audit, layer)
    measured = audit.measurements
    bounds: dict[Layer, float] = {}
    if relative is not None:
        n_layers = measured.target.n_layers
        given = at_most("relative", relative)
        bounds = by_layer("relative", given, list(layers), n_layers, "all")
    bound = min(bounds.values(), default=0.0)
    if lost := not_as_claimed(measured, layers, _QUANTITY, bound, "<="):
        return audit.verdict(_CHECK, lost, _parent_notes(audit.comparisons, measured))
    reasons = [_judged(measured, one, bounds.get(one)) for one in layers]
    compared = audit.comparisons if measured.target.config.reference is not None else None
    if compared is not None:
        reasons = [_against_parent(compared, measured, one) for one in reasons]
    return audit.verdict(_CHECK, reasons)


def _judged(measured: "Measurements", layer: Layer, bound: float | None) -> Reason:
    found = sample_of(measured, layer)
    limit = found.tolerance if bound is None else bound
    return Reason(
        where=layer_id(layer),
        status=judge(found.median, "<=", limit),
        quantity=_QUANTITY,
        value=found.median,
        bound=limit,
        relation="<=",
        evidence=(sample_line(measured, layer), measured.served.words),
        would_pass=f"relative of at least {show_up(found.median)}",
        figures={"largest": found.largest, "tolerance": found.tolerance},
    )


def _against_parent(compared: "Comparisons", measured: "Measurements", reason: Reason) -> Reason:
    """The same reason, which fails where the states are clearly nearer to the parent's."""
    layer: Layer = "norm" if reason.where == "norm" else int(reason.where.removeprefix("layer"))
    parent = parent_distance(compared.parent, measured.served, layer)
    line = f"from the reference's: median {show(parent)} of its norm"
    if parent > _CLEARLY * reason.value:
        return replace(
            reason,
            evidence=(*reason.evidence, line),
            figures={**reason.figures, "from_parent": parent},
        )
    return replace(
        reason,
        status=Status.FAIL,
        headline="these are the reference's states",
        evidence=(line, *reason.evidence),
        figures={**reason.figures, "from_parent": parent},
        would_pass=_NO_BOUND,
    )


def _parent_notes(compared: "Comparisons", measured: "Measurements") -> list[str]:
    """A note where states that are not the model's are its reference's; none without a reference."""
    if measured.target.config.reference is None:
        return []
    served = measured.served
    off = {layer: parent_distance(compared.parent, served, layer) for layer in served.layers}
    if all(off[one.layer] <= one.tolerance for one in measured.served_sample.layers):
        return ["they are the reference's states: the engine serves the parent, not this model"]
    return [f"from the reference's: median up to {show(max(off.values()))} of its norm"]
