"""Judges what each block of a model makes of its parent's states."""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

from pytest_injectivity.audit.comparisons.errors import (
    HEAD,
    PROMPTS,
    accepted_errors,
    block_errors_of,
    site_layer,
    times_over,
)
from pytest_injectivity.audit.judging.arguments import at_most, count
from pytest_injectivity.audit.judging.base import (
    Audited,
    against_reference,
    by_layer,
    compared,
    with_embedding,
)
from pytest_injectivity.audit.judging.common import times_bound
from pytest_injectivity.core.layers import Layer, LayerSpec, layer_id
from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.tolerances import PerLayer
from pytest_injectivity.results.verdict import Reason, Verdict, judge

if TYPE_CHECKING:
    from pytest_injectivity.audit.comparisons.against import Against
    from pytest_injectivity.reference.errors.block_error import BlockError

JUMP = 3.0
"""A block stands out whose error is this many times the median of the others of as many bits."""

_QUANTITY = "block error"


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
    audit.comparisons.block_errors |= {
        layer: one.value for layer, one in known if math.isfinite(one.value)
    }
    # No layer's states were compared.
    return against_reference(audit, "block_error_below", (), reasons, times_bound)


def judge_block(
    against: "Against",
    layer: Layer,
    errors: "list[BlockError]",
    accepted: Mapping[str, float],
    prompts: int,
) -> Reason:
    """The reason of one layer: of the sites that are judged with it, the worse.

    Args:
        against: the model and its parent.
        layer: the layer.
        errors: of all sites.
        accepted: the largest error of each site.
        prompts: the most prompts that were compared.
    """
    n_layers = against.child.target.n_layers
    here = [one for one in errors if site_layer(one.site, n_layers) == layer]
    worst = max(here, key=lambda one: times_over(one.value, accepted[one.site]))
    bound = accepted[worst.site]
    status = judge(worst.value, "<=", bound)
    quantity = f"{_QUANTITY} of the head" if worst.site == HEAD else _QUANTITY
    headline = ""
    if math.isnan(worst.value):
        headline = f"{quantity}: not finite"
    return Reason(
        where=layer_id(layer),
        status=status,
        quantity=quantity,
        value=worst.value,
        bound=bound,
        relation="<=",
        headline=headline,
        evidence=tuple(_evidence(against, worst, errors, prompts)),
        would_pass=f"relative of at least {worst.value!r}" if math.isfinite(worst.value) else "",
        figures=_figures(here),
    )


def _evidence(
    against: "Against", worst: "BlockError", errors: "list[BlockError]", prompts: int
) -> Iterator[str]:
    where = f"position {worst.position} of {_prompt(against, worst, prompts)}"
    yield (
        f"SQNR {show(worst.sqnr)} dB; of a position: 99 % {show(worst.q99)}, largest"
        f" {show(worst.largest)} at {where}"
    )
    yield f"the parent against itself: {show(worst.itself)}; {worst.positions} positions"
    if worst.sinks:
        yield f"{worst.sinks} attention sinks, apart: {show(worst.of_sinks)}"
    known = [(one, at) for at, one in enumerate(worst.experts.tolist()) if not math.isnan(one)]
    if known:
        largest, expert = max(known)
        yield f"expert {expert} is the worst of {len(worst.experts)}: {show(largest)}"
    if (times := stands_out(worst, errors)) is not None:
        yield f"stands out: {show(times)} times the median of the other blocks"


def stands_out(one: "BlockError", errors: "Sequence[BlockError]") -> float | None:
    """How many times the median of the other blocks' errors one is, where it is far above it.

    Args:
        one: of a block; of other sites the answer is None.
        errors: of all sites.
    """
    blocks = [each for each in errors if each.site.startswith("layer")][1:]
    others = [each.value for each in blocks if each is not one]
    if one not in blocks or not others:
        return None
    times = times_over(one.value, median(others))
    return times if times > JUMP else None


def _prompt(against: "Against", one: "BlockError", prompts: int) -> str:
    target = against.child.target
    ids = target.prompts.subset(min(prompts, len(target.prompts))).ids[one.prompt]
    return target.name_of(target.prompts.ids.index(ids))


def _figures(here: "list[BlockError]") -> dict[str, float]:
    found: dict[str, float] = {}
    for one in here:
        numbers = {"": one.value, "_q99": one.q99, "_max": one.largest, "_sqnr": one.sqnr}
        found |= {f"{one.site}{name}": value for name, value in numbers.items()}
    return {name: value for name, value in found.items() if math.isfinite(value)}
