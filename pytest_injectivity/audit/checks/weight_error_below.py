"""Judges how far a model's weights lie from its parent's, tensor by tensor."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_injectivity.audit.comparisons.basis import turn_of
from pytest_injectivity.audit.comparisons.errors import (
    PROMPTS,
    accepted_errors,
    block_errors_of,
    left_out_of,
    proved_bits,
    site_layer,
    vocabulary_line,
    weight_errors_of,
)
from pytest_injectivity.audit.judging.arguments import at_most
from pytest_injectivity.audit.judging.base import (
    Audited,
    against_reference,
    by_layer,
    compared,
    with_embedding,
)
from pytest_injectivity.audit.judging.block_errors import judge_block
from pytest_injectivity.audit.judging.common import times_bound
from pytest_injectivity.core.layers import Layer, LayerSpec, layer_id
from pytest_injectivity.core.numbers import show, show_up
from pytest_injectivity.core.tolerances import PerLayer
from pytest_injectivity.results.verdict import Reason, Status, Verdict, judge

if TYPE_CHECKING:
    from pytest_injectivity.audit.comparisons.against import Against
    from pytest_injectivity.reference.errors.weight_error import WeightError
    from pytest_injectivity.reference.errors.weight_finding import Finding

_LISTED = 4
_FULL = 16


def check_weight_error_below(
    audit: "Audited", layer: LayerSpec | None = None, relative: PerLayer[float] | None = None
) -> Verdict:
    """The model's weights are its parent's, rounded: ``||W' - W|| / ||W||`` by tensor (SPEC section 7).

    ``W'`` are the numbers that the model computes with, decoded from few bits. No prompt is needed.
    Without ``relative`` the error of each tensor, its gain ``<W', W> / ||W||^2`` and the error of each
    row are held against what rounding to the bits that were proved of the layer's weights explains
    (`reference.errors.bounds`). Weights that were scaled for their quantization (AWQ, SmoothQuant: a
    norm or a layer before takes the factor back) are compared with the factor taken back. Weights in
    another basis (QuaRot, SpinQuant) cannot be compared: there the errors of the blocks decide. What no
    token reaches (a tower for images, a pooler) is left out, and named in the evidence.

    Args:
        audit: the audit whose model is judged.
        layer: the layers judged; None: layer 0 and those of the config. ``norm`` is the final norm and
            the language-model head.
        relative: the largest error of a tensor accepted.

    Raises:
        LayerError: the model has no such layer.
        OptionError: a number is not accepted, no reference is named, or it is no parent.

    Example:
        >>> coarse = audit.in_precision(dtype="bfloat16")
        >>> coarse.check_weight_error_below().passed
        True
    """
    given = math.nan if relative is None else at_most("relative", relative)
    bounds = by_layer(audit, "relative", given, with_embedding(audit, layer, relative))
    against = compared(audit, ())
    if turn_of(against) is None:
        errors = weight_errors_of(against)
        reasons = [
            _judged(against, one, errors, None if relative is None else bounds[one])
            for one in bounds
        ]
        said = tuple(_left_out(against))
        reasons[0] = replace(reasons[0], evidence=(*reasons[0].evidence, *said))
    else:
        reasons = _in_another_basis(against, tuple(bounds))
    known = zip(bounds, reasons, strict=True)
    audit.comparisons.add_errors(
        weights={
            layer: max(one.figures.values())
            for layer, one in known
            if one.figures and not one.quantity.startswith("block")
        }
    )
    # No layer's states were compared.
    return against_reference(audit, "weight_error_below", (), reasons, times_bound)


def _left_out(against: "Against") -> Iterator[str]:
    """What is not compared, a sentence each."""
    if left := left_out_of(against):
        yield f"left out, because no token reaches it: {', '.join(left)}"
    if said := vocabulary_line(against):
        yield said


def _in_another_basis(against: "Against", layers: Sequence[Layer]) -> list[Reason]:
    """The reasons by what the blocks make of the parent's states, for weights that were rotated."""
    errors = block_errors_of(against)
    accepted = accepted_errors(against, errors)
    found = [
        judge_block(against, layer, list(errors.values()), accepted, PROMPTS) for layer in layers
    ]
    said = "the weights are in another basis: rotated; the errors of the blocks decide"
    return [replace(one, evidence=(said, *one.evidence)) for one in found]


def _judged(
    against: "Against", layer: Layer, errors: "Sequence[WeightError]", bound: float | None
) -> Reason:
    from pytest_injectivity.reference.errors.weight_finding import finding, held_to

    n_layers = against.child.target.n_layers
    bits = proved_bits(against)[layer_id(layer)]
    here = [one for one in errors if site_layer(one.site, n_layers) == layer]
    found = sorted(
        (finding(one, bits) if bound is None else held_to(one, bound) for one in here),
        key=lambda one: -one.times,
    )
    worst = found[0]
    status = judge(worst.value, "<=", worst.bound)
    wrong = [one for one in found if not one.value <= one.bound] or [worst]
    return Reason(
        where=layer_id(layer),
        status=status,
        quantity=f"{worst.quantity} of {worst.error.name}",
        value=worst.value,
        bound=worst.bound,
        relation="<=",
        headline=worst.words if status is Status.FAIL else "",
        evidence=(*_evidence(wrong, bits), *_zeros(here)),
        would_pass=_would_pass(here),
        figures={one.name: one.error for one in here if math.isfinite(one.error)},
    )


def _evidence(found: "Sequence[Finding]", bits: float) -> Iterator[str]:
    for one in found[:_LISTED]:
        error = one.error
        if error.only:
            yield one.words
            continue
        said = f"{error.name}: error {show(error.error)}, gain {error.gain:.4g}"
        if error.matrix:
            said += (
                f"; row {error.row.row}: {show(error.row.error)}, the median row"
                f" {show(error.median_row)}; row {error.group.row}, inputs from"
                f" {error.group.start}: {show(error.group.error)} of the tensor's root mean square"
            )
        yield said + (f"; the factor of {error.rescaled} taken back" if error.rescaled else "")
    yield from _in_order([one.error for one in found])
    if len(found) > _LISTED:
        yield f"… and {len(found) - _LISTED} more tensors"
    yield "weights of 16 bits and more" if bits >= _FULL else f"proved: {bits:g} bits"


def _in_order(errors: "Sequence[WeightError]") -> Iterator[str]:
    """A line on the tensors that are the parent's in another order of rows or columns."""
    known = {one.name: one.reordered for one in errors if one.reordered is not None}
    if known:
        named = ", ".join(f"{name} ({one.side})" for name, one in known.items())
        most = show(max(one.error for one in known.values()))
        yield (
            f"in another order, with an error of at most {most}: {named}; where units or heads changed"
            " places the function is the same: assert_block_error_below decides"
        )


def _zeros(errors: "Sequence[WeightError]") -> Iterator[str]:
    """Of the biases of zeros that one of the models lacks, a sentence for each model."""
    for whose, other in (("model", "parent"), ("parent", "model")):
        names = [one.name for one in errors if one.only == whose and one.error == 0]
        if names:
            more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
            yield f"0 throughout, and the {other} has none: {', '.join(names[:_LISTED])}{more}"


def _would_pass(errors: "Sequence[WeightError]") -> str:
    if not all(math.isfinite(one.error) for one in errors):
        return "no bound: a weight is not finite, or the parent's is 0 where the model's is not"
    return f"relative of at least {show_up(max(one.error for one in errors))}"
