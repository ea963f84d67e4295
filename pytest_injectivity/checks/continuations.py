"""Collisions among all continuations of the prompts that come closest to another ([N] figure 4).

Judged as the collisions of prompts are: equal, not to be told apart, or nearer than eps. At layer 0 too
a collision is the checkpoint's: continuations end in different tokens.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pytest_injectivity.checks.collisions import Found, floor_lines, would_pass
from pytest_injectivity.checks.common import not_finite
from pytest_injectivity.errors import OptionError
from pytest_injectivity.layers import Layer, depth, layer_id
from pytest_injectivity.stats import lower_quantile
from pytest_injectivity.tolerance import Tolerance
from pytest_injectivity.verdict import Reason, Status, judge, show

if TYPE_CHECKING:
    from pytest_injectivity.inversion.continuations import Continuations
    from pytest_injectivity.measurements import Measurements

_QUANTITY = "colliding pairs of continuations"
_EVALUATED_AGAIN = 100
_LISTED = 3
_QUANTILES = (0.01, 0.1, 0.5)


class Chosen(NamedTuple):
    """The prompts that are continued.

    Attributes:
        prompts: their indexes, the closest to another prompt first.
        full: prompts as close as these that fill the context and were passed over.
        layer: where they are closest, the deepest layer asked for.
    """

    prompts: tuple[int, ...]
    full: int
    layer: Layer


class _Pair(NamedTuple):
    """Two continuations of a prompt: sorted by distance."""

    distance: float
    prompt: int
    left: int
    right: int
    kind: str


@dataclass(frozen=True)
class _Counted:
    """The pairs of one prompt that count against a layer."""

    collisions: int
    unresolved: int
    near: int
    pairs: tuple[_Pair, ...]


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
    """The prompts of smallest nearest-neighbour distance at the deepest layer; ties by hash."""
    deepest = max(layers, key=depth)
    geometry, context = measured.geometry(deepest), measured.facts.context
    distance, hashes = geometry.nearest.distance, measured.prompts.hashes
    ranked = sorted(
        range(len(geometry)), key=lambda row: (distance[row], hashes[geometry.prompt_of[row]])
    )
    chosen: list[int] = []
    full = 0
    for prompt in (int(geometry.prompt_of[row]) for row in ranked):
        if len(chosen) == prompts:
            break
        if context is not None and len(measured.prompts.ids[prompt]) >= context:
            full += 1
        else:
            chosen.append(prompt)
    return Chosen(tuple(chosen), full, deepest)


def _survey(
    measured: "Measurements", chosen: Chosen, layers: list[Layer]
) -> dict[Layer, dict[int, "Continuations"]]:
    """By layer and prompt."""
    found: dict[Layer, dict[int, Continuations]] = {layer: {} for layer in layers}
    with measured.watcher.progress("continuations", len(chosen.prompts)) as advance:
        for done, prompt in enumerate(chosen.prompts, 1):
            ids = measured.prompts.ids[prompt]
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
        return _undecided(layer, f"{lost} of {total} continuations are not finite", compared)
    if not any(one.pairs for one in found.values()):
        return _undecided(layer, "nothing was compared", compared)
    eps = tolerance.absolute(measured.geometry(layer).mean_norm)
    counted = [_count(measured, layer, eps, prompt, one) for prompt, one in found.items()]
    prompt, closest = min(found.items(), key=lambda item: item[1].minimum[0])
    distance, pair = closest.minimum
    joined = Found(
        collisions=sum(one.collisions for one in counted),
        unresolved=sum(one.unresolved for one in counted),
        near=sum(one.near for one in counted),
        eps=eps,
        threshold=max(eps, measured.noise(layer).value),
        pairs=(),
        closest=distance,
    )
    listed = sorted(pair for one in counted for pair in one.pairs)[:_LISTED]
    lines = [_pair_line(measured, one) for one in listed]
    if not lines and pair is not None:
        lines = [_pair_line(measured, _Pair(distance, prompt, *pair, "closest pair"))]
    return Reason(
        layer=layer_id(layer),
        status=judge(joined.total, "<=", 0),
        quantity=_QUANTITY,
        value=joined.total,
        bound=0,
        relation="<=",
        headline=joined.headline(),
        evidence=(
            *lines,
            *compared,
            _rivals_line(found),
            *floor_lines(measured, layer, eps),
        ),
        would_pass=would_pass(joined),
    )


def _undecided(layer: Layer, headline: str, evidence: list[str]) -> Reason:
    return Reason(
        layer=layer_id(layer),
        status=Status.FAIL,
        quantity=_QUANTITY,
        value=math.nan,
        bound=0,
        relation="<=",
        headline=headline,
        evidence=tuple(evidence),
    )


def _count(
    measured: "Measurements", layer: Layer, eps: float, prompt: int, found: "Continuations"
) -> _Counted:
    search, ids = measured.continuations, measured.prompts.ids[prompt]
    noise = measured.noise(layer).value
    doubtful = search.within(ids, layer, 2 * noise, _EVALUATED_AGAIN)
    near = search.within(ids, layer, max(eps, noise), _LISTED)
    tokens = list(zip(doubtful.left.tolist(), doubtful.right.tolist(), strict=True))
    equal = _evaluated_equal(measured, layer, ids, tokens)
    # Beyond the pairs evaluated again, the rows themselves say which are equal.
    collisions = sum(equal) + found.collisions - int((doubtful.distance == 0).sum())
    kinds = ["collision" if same else "unresolved" for same in equal]
    pairs = near if near.count > doubtful.count else doubtful
    listed = zip(pairs.distance, pairs.left, pairs.right, strict=True)
    return _Counted(
        collisions=collisions,
        unresolved=doubtful.count - collisions,
        near=max(0, near.count - doubtful.count),
        pairs=tuple(
            _Pair(float(distance), prompt, int(left), int(right), (*kinds, *["near"] * _LISTED)[at])
            for at, (distance, left, right) in enumerate(listed)
            if at < _LISTED
        ),
    )


def _evaluated_equal(
    measured: "Measurements", layer: Layer, ids: tuple[int, ...], pairs: list[tuple[int, int]]
) -> list[bool]:
    from pytest_injectivity.states.again import equal_when_evaluated_together

    if not pairs:
        return []
    tokens = sorted({token for pair in pairs for token in pair})
    place = {token: at for at, token in enumerate(tokens)}
    continued = [(*ids, token) for token in tokens]
    indexes = [(place[left], place[right]) for left, right in pairs]
    digest = hashlib.sha256(repr((ids, pairs)).encode()).hexdigest()
    return measured.remember(
        f"continuations equal together at {layer_id(layer)}: {digest}",
        lambda: equal_when_evaluated_together(measured.decoder, continued, indexes, layer),
    )


def _pair_line(measured: "Measurements", pair: _Pair) -> str:
    tokens = " and ".join(measured.name_of_token(token) for token in (pair.left, pair.right))
    return (
        f"{pair.kind}, distance {show(pair.distance)}: {tokens} after"
        f" {measured.name_of(pair.prompt)}"
    )


def _compared_lines(
    measured: "Measurements", chosen: Chosen, found: dict[int, "Continuations"]
) -> list[str]:
    pairs = sum(one.pairs for one in found.values())
    search = measured.continuations
    each = f"{len(search.tokens)} continuations of each of {len(found)} prompts"
    lines = [f"{pairs} pairs compared: {each}, the closest to another at {layer_id(chosen.layer)}"]
    if left_out := measured.facts.vocab_size - len(search.tokens):
        lines.append(f"{left_out} rows of the embedding left out: no token of the tokenizer's")
    if chosen.full:
        lines.append(
            f"{chosen.full} prompts passed over: they fill the context of"
            f" {measured.facts.context} tokens"
        )
    return lines


def _rivals_line(found: dict[int, "Continuations"]) -> str:
    rivals = [one.rivals for one in found.values() if one.rivals is not None]
    if not rivals:
        return "quantiles of the nearest rival's distance: audit.continuations.rivals(ids, layer)"
    every = np.concatenate(rivals)
    said = ", ".join(f"{100 * q:g} % {show(lower_quantile(every, q))}" for q in _QUANTILES)
    return f"distance of a continuation from its nearest rival: {said}"
