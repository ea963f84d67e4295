"""Judges what each block of a model makes of its parent's states."""

import math

from pytest_injectivity.audit.comparisons.errors import (
    PROMPTS,
    accepted_errors,
    block_errors_of,
    site_layer,
)
from pytest_injectivity.audit.judging.arguments import at_most, count
from pytest_injectivity.audit.judging.base import (
    Audited,
    against_reference,
    by_layer,
    compared,
    with_embedding,
)
from pytest_injectivity.audit.judging.block_errors import judge_block, jump_lines
from pytest_injectivity.audit.judging.common import times_bound
from pytest_injectivity.core.layers import LayerSpec
from pytest_injectivity.core.tolerances import PerLayer
from pytest_injectivity.results.verdict import Status, Verdict


def check_block_error_below(
    audit: "Audited",
    layer: LayerSpec | None = None,
    relative: PerLayer[float] | None = None,
    *,
    prompts: int = PROMPTS,
) -> Verdict:
    """Each block makes of its parent's states what the parent's block makes of them (SPEC section 7).

    The error of block l is ``sqrt(sum ||B'(h) - B(h)||^2 / sum ||B(h) - h||^2)`` over the positions of
    the prompts, h the PARENT's states before it. Layer 0 is judged by its embeddings, ``norm`` by the
    final norm and the language-model head. A block whose error stands out among the others is named,
    even within its bound.

    Args:
        audit: the audit whose model is judged.
        layer: the layers judged; None: layer 0 and those of the config.
        relative: the largest error accepted; None: what rounding to the bits that were proved of the
            block's weights explains (`reference.errors.bounds`), and rounding states to the dtype
            that is computed in.
        prompts: the most prompts compared, those of smallest hash.

    Raises:
        LayerError: the model has no such layer.
        OptionError: a number is not accepted, no reference is named, or it is no parent.

    Example:
        >>> coarse = audit.in_precision(dtype="bfloat16")
        >>> coarse.check_block_error_below().passed
        True
    """
    prompts = count("prompts", prompts)
    given = math.nan if relative is None else at_most("relative", relative)
    bounds = by_layer(audit, "relative", given, with_embedding(audit, layer, relative))
    against = compared(audit, ())
    errors = block_errors_of(against, prompts)
    accepted = accepted_errors(against, errors)
    if relative is not None:
        n_layers = against.child.target.n_layers
        accepted |= {
            site: bounds[layer]
            for site in errors
            if (layer := site_layer(site, n_layers)) in bounds
        }
    reasons = [
        judge_block(against, layer, list(errors.values()), accepted, prompts) for layer in bounds
    ]
    known = zip(bounds, reasons, strict=True)
    audit.comparisons.add_errors(
        blocks={layer: one.value for layer, one in known if math.isfinite(one.value)}
    )
    jumps = list(jump_lines(list(errors.values())))
    if all(one.status is Status.PASS for one in reasons):
        for said in jumps:  # a green test shows no notes
            against.child.target.watcher.announce(f"injectivity: {said}")
    # No layer's states were compared.
    return against_reference(audit, "block_error_below", (), reasons, times_bound, notes=jumps)
