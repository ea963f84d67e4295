"""The reason that a layer contributes by what its block makes of the parent's states."""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

from pytest_injectivity.audit.comparisons.errors import site_layer
from pytest_injectivity.core.layers import HEAD, Layer, layer_id
from pytest_injectivity.core.numbers import show, show_up, times_over
from pytest_injectivity.results.verdict import Reason, judge

if TYPE_CHECKING:
    from pytest_injectivity.audit.comparisons.against import Against
    from pytest_injectivity.reference.errors.block_error import BlockError

JUMP = 3.0
"""A block stands out whose error is this many times the median of the other blocks'."""

_QUANTITY = "block error"


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
        evidence=tuple(_evidence(against, worst, prompts)),
        would_pass=f"relative of at least {show_up(worst.value)}"
        if math.isfinite(worst.value)
        else "",
        figures=_figures(here),
    )


def _evidence(against: "Against", worst: "BlockError", prompts: int) -> Iterator[str]:
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


def jump_lines(errors: "Sequence[BlockError]") -> Iterator[str]:
    """A line on each block that stands out among the others, within its bound or not.

    Args:
        errors: of all sites.
    """
    for one in errors:
        if (times := stands_out(one, errors)) is not None:
            yield (
                f"{one.site}: block error {show(one.value)}, {show(times)} times the median of the other"
                " blocks"
            )


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
