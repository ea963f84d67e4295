"""Judges whether two prompts collide at a layer where the parent tells them apart."""

from typing import TYPE_CHECKING

from pytest_injectivity.audit.comparisons.new_pairs import (
    NewCollisions,
    decide_together,
    embedding_table,
    find_new_collisions,
)
from pytest_injectivity.audit.judging.arguments import tolerances
from pytest_injectivity.audit.judging.base import (
    Audited,
    against_reference,
    by_layer,
    compared,
    with_embedding,
)
from pytest_injectivity.audit.judging.collisions import blurred, resolution_lines
from pytest_injectivity.audit.judging.retained import lost_rows
from pytest_injectivity.audit.judging.tables import undecided
from pytest_injectivity.audit.judging.vocabulary import padding_lines
from pytest_injectivity.core.layers import Layer, LayerSpec, layer_id
from pytest_injectivity.core.numbers import show, show_down
from pytest_injectivity.core.text import number_of
from pytest_injectivity.core.tolerances import PerLayer, Tolerance
from pytest_injectivity.results.verdict import Reason, Verdict, judge

if TYPE_CHECKING:
    from pytest_injectivity.audit.comparisons.against import Against

_QUANTITY = "new collisions"


def check_no_new_collisions(
    audit: "Audited", layer: LayerSpec | None = None, eps: PerLayer[float | str] = 0.0
) -> Verdict:
    """No two prompts collide that the parent tells apart.

    Pairs are collisions, unresolved or near as in `check_no_collisions`, in each model at its own
    resolution. At layer 0 all rows of the input embedding are compared.

    Args:
        audit: the audit whose model is judged.
        layer: the layers judged; None: layer 0 and those of the config.
        eps: absolute, or ``"1e-5 rel"`` of each model's mean norm; judged as asked, whatever the
            resolutions are (SPEC section 2).

    Raises:
        LayerError: the model has no such layer.
        OptionError: eps is not accepted, no reference is named, or it is no parent.

    Example:
        >>> coarse = audit.in_precision(dtype="bfloat16")
        >>> [reason.where for reason in coarse.check_no_new_collisions(-1).reasons]
        ['layer04']
    """
    asked = by_layer(audit, "eps", tolerances(eps), with_embedding(audit, layer, eps))
    against = compared(audit, asked)
    decide_together(against, asked)
    reasons = [judge_new_collisions(against, one, asked[one]) for one in asked]
    return against_reference(audit, "no_new_collisions", asked, reasons)


def judge_new_collisions(against: "Against", layer: Layer, tolerance: Tolerance) -> Reason:
    """The reason a layer contributes to ``no_new_collisions``."""
    if layer == 0:
        for one, words in ((against.child, ""), (against.parent, " of the parent")):
            if lost := embedding_table(one).not_finite:
                headline = f"embedding rows not finite: {lost}{words}"
                return undecided(layer, _QUANTITY, headline, ())
    elif reason := lost_rows(against, layer, _QUANTITY, 0.0):
        return reason
    found = find_new_collisions(against, layer, tolerance)
    if layer != 0 and not found.count:
        for side, said in ((against.child, []), (against.parent, ["that is of the parent"])):
            if blur := side.blur(layer):
                return blurred(side, layer, _QUANTITY, blur, said)
    return Reason(
        where=layer_id(layer),
        status=judge(found.count, "<=", 0),
        quantity=_QUANTITY,
        value=found.count,
        bound=0,
        relation="<=",
        headline=found.headline,
        evidence=tuple(_lines(against, layer, found)),
        would_pass=_would_pass(found),
        figures={"both": found.old, **found.kinds},
    )


def _lines(against: "Against", layer: Layer, found: NewCollisions) -> list[str]:
    name = against.child.target.name_of_token if layer == 0 else against.child.target.name_of
    lines = [
        f"{one.kind}, distance {show(one.distance)}, in the parent {show(one.parents)}:"
        f" {name(one.pair[0])} and {name(one.pair[1])}"
        for one in found.pairs
    ]
    both = f"{found.old} more collide in the parent too" if found.old else ""
    n = len(against.child.target.prompts)
    compared = (
        f"{number_of(len(against.child.one_step.tokens(None)), 'row')} of the input embedding compared"
        if layer == 0
        else f"N = {n}; in the parent eps is {show(found.parents_eps)}"
    )
    lines += filter(None, (both, compared))
    if layer == 0:
        return lines + padding_lines(against.child.token_classes)
    return lines + resolution_lines(against.child, layer, found.eps)


def _would_pass(found: NewCollisions) -> str:
    if not found.pairs:
        return ""
    if found.kinds["collision"] or found.kinds["unresolved"]:
        return "no eps: pairs are equal or cannot be told apart at this precision"
    return f"eps below {show_down(min(one.distance for one in found.pairs))}"
