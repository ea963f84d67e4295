"""Judges whether one-token continuations of a prompt collide, for the closest prompts ([N] figure 4).

Collisions are decided as in every table of the one-step map (`judging.tables`). Tokens with equal
embedding rows collide after every prompt and say nothing about this one: they count as one token here,
and as collisions in `check_one_step_distinct`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pytest_injectivity.audit.judging.arguments import count, tolerances
from pytest_injectivity.audit.judging.base import Audited, by_layer
from pytest_injectivity.audit.judging.collisions import resolution_lines
from pytest_injectivity.audit.judging.common import not_finite
from pytest_injectivity.audit.judging.tables import (
    Place,
    count_collisions,
    pair_lines,
    table_reason,
    undecided,
)
from pytest_injectivity.audit.judging.vocabulary import vocabulary_lines
from pytest_injectivity.core.layers import Layer, LayerSpec, depth, layer_id
from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.text import number_of, verb
from pytest_injectivity.core.tolerances import PerLayer, Tolerance
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.verdict import Reason, Verdict
from pytest_injectivity.stats import lower_quantile

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.measurements import Measurements
    from pytest_injectivity.inversion.continuations import Continuations

_QUANTITY = "colliding pairs of continuations"
_TWINS = (
    "they collide after every prompt, which one_step_distinct counts; one of each class is compared"
)
_QUANTILES = (0.01, 0.1, 0.5)


class Chosen(NamedTuple):
    """The prompts that are continued.

    Attributes:
        prompts: their indexes, the one closest to another prompt first.
        full: how many prompts as close as these fill the context and were passed over.
        layer: the layer at which distances were compared, the deepest asked for.
    """

    prompts: tuple[int, ...]
    full: int
    layer: Layer


def check_no_continuation_collisions(
    audit: "Audited",
    layer: LayerSpec | None = None,
    eps: PerLayer[float | str] = 0.0,
    *,
    prompts: int = 10,
) -> Verdict:
    """No two one-token continuations of a prompt collide, over the whole vocabulary.

    The prompts that come closest to another are continued by every token of the tokenizer, and
    all pairs of these continuations are compared ([N] figure 4). Pairs are collisions, unresolved
    or near as in `check_no_collisions`; comparing nothing fails. Tokens with equal embedding rows
    count as one: `check_one_step_distinct` fails them.

    Args:
        audit: the audit whose model is judged.
        layer: the layers judged.
        eps: absolute, or ``"1e-5 rel"`` of the layer's mean norm over the prompt set; judged
            as asked, whatever the layer's resolution is (SPEC section 2).
        prompts: how many prompts are continued, those of smallest nearest-neighbor distance at
            the deepest layer asked for; all where the set has fewer. A prompt that fills the
            context is passed over and counted.

    Raises:
        LayerError: the model has no such layer.
        OptionError: eps or prompts is not accepted.

    Example:
        >>> audit.check_no_continuation_collisions(-1, prompts=1).passed
        True
    """
    asked = by_layer(audit, "eps", tolerances(eps), layer)
    reasons = judge_continuations(audit.measurements, asked, count("prompts", prompts))
    return audit.verdict("no_continuation_collisions", reasons)


def judge_continuations(
    measured: "Measurements", tolerances: Mapping[Layer, Tolerance], prompts: int
) -> list[Reason]:
    """The reasons the layers contribute to ``no_continuation_collisions``, in the order given.

    Raises:
        OptionError: fewer than one prompt is asked for.
    """
    if prompts < 1:
        raise OptionError(f"prompts={prompts}: give how many prompts to continue, at least 1")
    reasons = {
        layer: reason
        for layer in tolerances
        if (reason := not_finite(measured, layer, _QUANTITY, 0.0))
    }
    if finite := [layer for layer in tolerances if layer not in reasons]:
        chosen = choose_prompts(measured, finite, prompts)
        for layer, found in _survey(measured, chosen, finite).items():
            reasons[layer] = _judged(measured, layer, tolerances[layer], chosen, found)
    return [reasons[layer] for layer in tolerances]


def choose_prompts(measured: "Measurements", layers: list[Layer], prompts: int) -> Chosen:
    """The prompts of smallest nearest-neighbor distance at the deepest layer; ties by hash."""
    deepest = max(layers, key=depth)
    geometry, context = measured.geometry(deepest), measured.target.facts.context
    distance, hashes = geometry.nearest.distance, measured.target.prompts.hashes
    ranked = sorted(
        range(len(geometry)), key=lambda row: (distance[row], hashes[geometry.prompt_of[row]])
    )
    chosen: list[int] = []
    full = 0
    for prompt in (int(geometry.prompt_of[row]) for row in ranked):
        if len(chosen) == prompts:
            break
        if context is not None and len(measured.target.prompts.ids[prompt]) >= context:
            full += 1
        else:
            chosen.append(prompt)
    return Chosen(tuple(chosen), full, deepest)


def _survey(
    measured: "Measurements", chosen: Chosen, layers: list[Layer]
) -> dict[Layer, dict[int, "Continuations"]]:
    """Compare the continuations of each prompt chosen, by layer and prompt."""
    found: dict[Layer, dict[int, Continuations]] = {layer: {} for layer in layers}
    measured.target.foretelling.before(
        lambda costs: costs.tables(layers, places=len(chosen.prompts), name="continuations")
    )
    with measured.target.watcher.progress("continuations", len(chosen.prompts)) as advance:
        for done, prompt in enumerate(chosen.prompts, 1):
            ids = measured.target.prompts.ids[prompt]
            for layer, one in measured.continuations.of(ids, layers).items():
                found[layer][prompt] = one
            advance(done)
    return found


def _judged(
    measured: "Measurements",
    layer: Layer,
    tolerance: Tolerance,
    chosen: Chosen,
    found: dict[int, "Continuations"],
) -> Reason:
    compared = _compared_lines(measured, chosen, found)
    if lost := sum(one.not_finite for one in found.values()):
        total = lost + sum(one.compared for one in found.values())
        headline = (
            f"{lost} of {number_of(total, 'continuation')} {verb(lost, 'is', 'are')} not finite"
        )
        return undecided(layer, _QUANTITY, headline, compared)
    if not any(one.pairs for one in found.values()):
        return undecided(layer, _QUANTITY, "nothing was compared", compared)
    counted = [
        count_collisions(measured, layer, tolerance, _place(measured, layer, prompt), one)
        for prompt, one in sorted(found.items())
    ]
    lines = [
        *pair_lines(measured, counted),
        *compared,
        _rivals_line(found),
        *resolution_lines(measured, layer, counted[0].found.eps),
    ]
    margin = min(one.minimum[0] for one in found.values() if one.pairs)
    return table_reason(layer, _QUANTITY, counted, lines, figures={"one_step_margin": margin})


def _place(measured: "Measurements", layer: Layer, prompt: int) -> Place:
    return Place(
        search=measured.continuations,
        ids=measured.target.prompts.ids[prompt],
        words=f"after {measured.target.name_of(prompt)}",
        resolution=measured.resolution(layer).value,
        scale=measured.geometry(layer).mean_norm,
    )


def _compared_lines(
    measured: "Measurements", chosen: Chosen, found: dict[int, "Continuations"]
) -> list[str]:
    pairs = sum(one.pairs for one in found.values())
    classes = measured.token_classes
    each = f"{number_of(len(classes), 'continuation')} of each of {number_of(len(found), 'prompt')}"
    place = f"the closest to another at {layer_id(chosen.layer)}"
    lines = [f"{number_of(pairs, 'pair')} compared: {each}, {place}"]
    lines += vocabulary_lines(classes, _TWINS)
    if chosen.full:
        lines.append(
            f"{number_of(chosen.full, 'prompt')} passed over:"
            f" {verb(chosen.full, 'it fills', 'they fill')} the context of"
            f" {measured.target.facts.context} tokens"
        )
    return lines


def _rivals_line(found: dict[int, "Continuations"]) -> str:
    rivals = [one.rivals for one in found.values() if one.rivals is not None]
    if not rivals:
        return "quantiles of the nearest rival's distance: audit.continuations.rivals(ids, layer)"
    every = np.concatenate(rivals)
    said = ", ".join(f"{100 * q:g} % {show(lower_quantile(every, q))}" for q in _QUANTILES)
    return f"distance of a continuation from its nearest rival: {said}"
