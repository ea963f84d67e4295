"""Parts of verdicts that several checks share: rows that are not finite, pairs, joint confidence."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_injectivity.core.layers import Layer, layer_id
from pytest_injectivity.core.numbers import show, times_over
from pytest_injectivity.core.text import number_of, verb
from pytest_injectivity.results.verdict import Reason, Status
from pytest_injectivity.stats import check_confidence, holm

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.measurements import Measurements
    from pytest_injectivity.geometry.layer import LayerGeometry
    from pytest_injectivity.states.resolution import LayerResolution

_NAMED = 5


def not_finite(
    measured: "Measurements", layer: Layer, quantity: str, bound: float
) -> Reason | None:
    """The failing reason of a layer whose states are not all finite; None where they are.

    Checks call it first, on the rows as the model computed them: only finite rows can be rounded.
    """
    if measured.is_finite(layer):
        return None
    lost = measured.lost_prompts(layer)
    measured.geometry(layer)  # so that the table shows the layer
    names = [measured.target.name_of(prompt) for prompt in lost[:_NAMED]]
    more = [f"… and {len(lost) - _NAMED} more"] if len(lost) > _NAMED else []
    where = ", ".join(names) or "a sequence of the resolution's sample, before its last token"
    return Reason(
        where=layer_id(layer),
        status=Status.FAIL,
        quantity=quantity,
        value=math.nan,
        bound=bound,
        relation=">=",
        headline=(
            f"{len(lost)} of {number_of(len(measured.states(layer)), 'row')}"
            f" {verb(len(lost), 'is', 'are')} not finite"
            if lost
            else "the resolution is not finite"
        ),
        evidence=(
            f"a NaN or an infinity in the states of {where}",
            *more,
            *filter(None, [measured.target.facts.not_finite_line]),
        ),
    )


def pair_line(
    measured: "Measurements", geometry: "LayerGeometry", left: int, right: int, what: str
) -> str:
    """A line that names the prompts of two rows of a layer."""
    names = [measured.target.name_of(int(geometry.prompt_of[row])) for row in (left, right)]
    return f"{what}: {names[0]} and {names[1]}"


def resolution_line(resolution: "LayerResolution") -> str:
    """A line on a layer's resolution and where it comes from, and on its error."""
    later, error = resolution.later, resolution.error
    sinks = later.ordinary < later.distance
    others = f", {show(later.ordinary)} without attention sinks" if sinks else ""
    said = "not measured" if math.isnan(error) else f"{show(error)} to float64"
    return (
        f"resolution {show(resolution.value)} over {number_of(resolution.prompts, 'prompt')}"
        f" ({later.between}){others}; error {said}"
    )


def with_confidence(
    reasons: Sequence[Reason], p_values: Sequence[tuple[float, float]], confidence: float
) -> tuple[Reason, ...]:
    """Set each reason's status to what the sample proves, Holm-corrected over the layers.

    Args:
        reasons: one a layer, judged by their point values.
        p_values: two for each reason: that the value passes, and that the value fails.
        confidence: the family-wise level.
    """
    check_confidence(confidence)
    good = holm([p for p, _ in p_values], 1.0 - confidence)
    bad = holm([p for _, p in p_values], 1.0 - confidence)
    judged = []
    for reason, passes, fails in zip(reasons, good, bad, strict=True):
        status = Status.PASS if passes else Status.FAIL if fails else Status.INSUFFICIENT
        note = f"the sample does not decide at {100 * confidence:g}%: more prompts would"
        extra = (note,) if status is Status.INSUFFICIENT else ()
        judged.append(replace(reason, status=status, evidence=(*reason.evidence, *extra)))
    return tuple(judged)


def worst_note(reasons: Sequence[Reason], badness: Callable[[Reason], float]) -> list[str]:
    """A line that names the first bad layer and the worst layer; no line where no layer is bad.

    Args:
        reasons: one a layer, shallow first.
        badness: how bad a reason is; NaN is worst of all.
    """
    bad = [reason for reason in reasons if reason.status is not Status.PASS]
    if not bad:
        return []

    def key(reason: Reason) -> float:
        value = badness(reason)
        return math.inf if math.isnan(value) else value

    worst = max(bad, key=key)
    said = worst.headline or f"{worst.quantity} {show(worst.value)}"
    return [f"first bad layer: {bad[0].where}; worst: {worst.where} ({said})"]


def times_bound(reason: Reason) -> float:
    """The value of a reason in units of its upper bound, infinite for NaN: how bad it is."""
    return times_over(reason.value, reason.bound)


Judged = tuple[Reason, tuple[float, float]]
"""A layer's reason and its two p-values: that the value passes, and that the value fails."""


def settled(judged: Sequence[Judged], confidence: float | None) -> list[Reason]:
    """The reasons by what the sample proves, or by point values where no confidence is given."""
    reasons = [reason for reason, _ in judged]
    if confidence is None:
        return reasons
    return list(with_confidence(reasons, [p_values for _, p_values in judged], confidence))
