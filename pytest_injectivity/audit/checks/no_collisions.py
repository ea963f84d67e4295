"""Judges whether prompts collide at a layer: equal, not to be told apart, or nearer than eps.

The last bits of a row depend on the shape of the batch it was computed in. Pairs near the resolution
are therefore evaluated again in eight ways: a pair with equal bits in one of them is a collision, a pair
that is no farther apart than its prompts are from themselves is unresolved at this precision, and the
others are resolved (SPEC section 2). The first two kinds fail, under their own names, and are diagnosed:
does the architecture cause them, or do this checkpoint's values (SPEC section 3)?
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_injectivity.audit.judging.arguments import tolerances
from pytest_injectivity.audit.judging.base import Audited, by_layer
from pytest_injectivity.audit.judging.collisions import (
    Found,
    Named,
    blurred,
    decision_words,
    resolution_lines,
    would_pass,
)
from pytest_injectivity.audit.judging.common import not_finite
from pytest_injectivity.audit.judging.diagnosis import Diagnosed
from pytest_injectivity.core.layers import Layer, LayerSpec, layer_id
from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.text import number_of, verb
from pytest_injectivity.core.tolerances import PerLayer, Tolerance
from pytest_injectivity.quantization.grid import Grid, GridLike
from pytest_injectivity.results.verdict import Reason, Verdict, judge
from pytest_injectivity.stats import exact_collision_rate_bound, near_collision_rate_bound

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.doubtful_pairs import DoubtfulPairs
    from pytest_injectivity.audit.measurements.measurements import Measurements
    from pytest_injectivity.geometry.layer import LayerGeometry
    from pytest_injectivity.geometry.search.near_pairs import NearPairs
    from pytest_injectivity.states.diagnosis import Pair

_QUANTITY = "colliding pairs"
_LISTED = 3

# Pairs diagnosed at each layer: each draw of the weights costs a forward pass of their prompts. Past the
# first ten the same cause repeats, and the verdict says how many were left.
_DIAGNOSED = 10


def check_no_collisions(
    audit: "Audited",
    layer: LayerSpec | None = None,
    eps: PerLayer[float | str] = 0.0,
    *,
    bits: GridLike | None = None,
) -> Verdict:
    """No two prompts have equal states, states that cannot be told apart, or states within eps.

    Args:
        audit: the audit whose model is judged.
        layer: the layers judged.
        eps: absolute, or ``"1e-5 rel"`` of the layer's mean norm; judged as asked, whatever the
            layer's resolution is (SPEC section 2).
        bits: round the captured states to so many bits first ([VS] figure 4), or to another `Grid`,
            as text: ``"4 asymmetric per-token"``, ``"8 per-channel clip=99.9"``.

    Raises:
        LayerError: the model has no such layer.
        OptionError: eps or bits are not accepted.

    Example:
        >>> audit.check_no_collisions(-1, eps=1e-6).first_line
        'PASS no_collisions: layer04: no collision'
    """
    asked = by_layer(audit, "eps", tolerances(eps), layer)
    return audit.verdict("no_collisions", judge_collisions(audit.measurements, asked, bits))


def judge_collisions(
    measured: "Measurements", tolerances: Mapping[Layer, Tolerance], bits: GridLike | None
) -> list[Reason]:
    """The reasons the layers contribute to ``no_collisions``, in the order given."""
    grid = None if bits is None else Grid.parse(bits)
    reasons: dict[Layer, Reason] = {}
    asked: dict[Layer, float] = {}
    for layer, tolerance in tolerances.items():
        if lost := not_finite(measured, layer, _QUANTITY, 0.0):
            reasons[layer] = lost
            continue
        geometry = measured.geometry(layer, bits=grid)
        eps = tolerance.absolute(geometry.mean_norm)
        if grid is None:
            asked[layer] = eps
        else:
            reasons[layer] = _rounded(measured, layer, grid, _on_grid(geometry, eps))
    # The pairs of all layers are evaluated in the same passes, and share the draws of the weights.
    doubts = measured.doubtful(list(asked))
    found = {
        layer: _in_states(measured.geometry(layer), eps, doubts[layer])
        for layer, eps in asked.items()
    }
    doubtful = {
        layer: one.named("collision") + one.named("unresolved") for layer, one in found.items()
    }
    diagnosed = Diagnosed.asked(measured, doubtful)
    red = any(one.collisions or one.unresolved for one in found.values())
    resolved = _resolved_lines(measured, doubts, red=red)
    for layer, one in found.items():
        blur = doubts[layer].blur
        if blur is not None and not one.total:
            reasons[layer] = blurred(measured, layer, _QUANTITY, blur, ())
        else:
            lines = resolved[layer]
            reasons[layer] = _computed(measured, layer, one, doubts[layer], diagnosed[layer], lines)
    return [reasons[layer] for layer in tolerances]


def _computed(  # noqa: PLR0917 - one layer's findings
    measured: "Measurements",
    layer: Layer,
    found: Found,
    doubts: "DoubtfulPairs",
    diagnosed: Diagnosed,
    resolved: Sequence[str],
) -> Reason:
    """The reason of a layer from the states as the model computed them."""
    headline = found.headline(
        diagnosed.counted(found.named("collision"), found.collisions),
        diagnosed.counted(found.named("unresolved"), found.unresolved),
    )
    decided = dict(zip(doubts.pairs, doubts.decisions, strict=True))
    lines = []
    for one in found.pairs[:_LISTED]:
        lines.append(_pair_line(measured, one, f"{one.kind}, "))
        if one.pair in decided:
            lines.append(f"  {decision_words(decided[one.pair])}")
        lines.append(diagnosed.line(one.pair))
    if doubtful := found.collisions + found.unresolved:
        lines.append(diagnosed.summary(doubtful))
    if doubts.beyond:
        lines.append(
            f"{number_of(doubts.beyond, 'more pair')} near the resolution"
            f" {verb(doubts.beyond, 'was', 'were')} not evaluated: unresolved"
        )
    lines += [*resolved, *resolution_lines(measured, layer, found.eps)]
    return _reason(measured, layer, found, headline, filter(None, lines))


def _resolved_lines(
    measured: "Measurements", doubts: Mapping[Layer, "DoubtfulPairs"], *, red: bool
) -> dict[Layer, list[str]]:
    """Lines on the pairs near the resolution that evaluation tells apart, by layer.

    A large model has no float64 copy made for them alone: it would take more memory than anything else
    in a gate. Where pairs fail, their diagnosis makes one anyway.
    """
    resolved = {layer: one.of_kind("resolved") for layer, one in doubts.items()}
    closest = {layer: [one[0][0]] for layer, one in resolved.items() if one}
    exact = measured.exact_distances(closest, at_any_cost=red)
    lines: dict[Layer, list[str]] = {layer: [] for layer in doubts}
    for layer, some in resolved.items():
        if not some:
            continue
        scaled = sum(decision.by == "scaled" for _, _, decision in some)
        pair, distance, decision = some[0]
        known = exact.get((layer, pair))
        truth = "" if known is None else f"; in float64 {show(known)} apart"
        lines[layer] = [
            f"resolved pairs near the resolution: {len(some)}, {scaled} by the scaled distance alone",
            _pair_line(measured, Named("resolved", pair, distance), "the closest, "),
            f"  {decision_words(decision)}{truth}",
        ]
    return lines


def _rounded(measured: "Measurements", layer: Layer, grid: Grid, found: Found) -> Reason:
    """The reason of a layer from rounded states; it says which pairs were equal before rounding."""
    before = measured.geometry(layer)
    kept = before.equal.pairs  # equal rows have equal codes
    own = found.collisions - kept
    if own and kept:
        words = f" ({own} by rounding, {kept} equal before it)"
    else:
        words = " (by rounding)" if own else " (equal before rounding)"
    lines = [
        f"{_pair_line(measured, one)}; before rounding {show(_apart(measured, layer, one.pair))}"
        for one in found.pairs[:_LISTED]
    ]
    scale = "" if grid.plain else f", scale: {grid.source(len(before))}"
    equal = "equal codes of one scale" if grid.per == "token" else "equal codes"
    lines.append(
        f"states rounded to {grid.words}{scale}; {equal} collide; resolution before rounding"
        f" {show(measured.resolution(layer).value)}"
    )
    return _reason(measured, layer, found, found.headline(words), lines)


def _apart(measured: "Measurements", layer: Layer, pair: "Pair") -> float:
    left, right = (measured.states(layer)[prompt].double() for prompt in pair)
    return float((left - right).norm())


def _reason(
    measured: "Measurements", layer: Layer, found: Found, headline: str, lines: Iterable[str]
) -> Reason:
    return Reason(
        where=layer_id(layer),
        status=judge(found.total, "<=", 0),
        quantity=_QUANTITY,
        value=found.total,
        bound=0,
        relation="<=",
        headline=headline,
        evidence=(*lines, *_context_lines(measured, layer, found)),
        would_pass=would_pass(found),
    )


def _on_grid(geometry: "LayerGeometry", eps: float) -> Found:
    """Count the pairs of rounded rows, which are equal or not: they have no resolution."""
    near = geometry.near(eps, limit=_LISTED)
    collisions = geometry.equal.pairs
    listed = zip(near.left.tolist(), near.right.tolist(), near.distance.tolist(), strict=True)
    return Found(
        collisions=collisions,
        unresolved=0,
        near=near.count - collisions,
        eps=eps,
        pairs=tuple(
            Named(
                "collision" if at < collisions else "near",
                _prompts_of(geometry, left, right),
                distance,
            )
            for at, (left, right, distance) in enumerate(listed)
        ),
        closest=_closest(near),
    )


def _in_states(geometry: "LayerGeometry", eps: float, doubts: "DoubtfulPairs") -> Found:
    """Count the pairs of a layer as the model computed it."""
    again = doubts.of_kind("collision", "unresolved")
    collided = sum(decision.kind == "collision" for _, _, decision in again)
    near = geometry.near(eps, limit=_DIAGNOSED + len(again))
    known = geometry.equal.pairs + sum(distance <= eps for _, distance, _ in again)
    listed = [
        Named("near" if distance else "collision", _prompts_of(geometry, left, right), distance)
        for left, right, distance in zip(
            near.left.tolist(), near.right.tolist(), near.distance.tolist(), strict=True
        )
    ]
    kinds = {pair: Named(str(decision.kind), pair, distance) for pair, distance, decision in again}
    every = {one.pair: one for one in listed} | kinds
    return Found(
        collisions=geometry.equal.pairs + collided,
        unresolved=len(again) - collided + doubts.beyond,
        near=max(0, near.count - known),
        eps=eps,
        pairs=tuple(sorted(every.values(), key=lambda one: one.distance)[:_DIAGNOSED]),
        closest=_closest(near),
    )


def _closest(near: "NearPairs") -> float:
    """The smallest distance of all pairs, where one is within eps."""
    return float(near.distance[0]) if len(near.distance) else math.nan


def _prompts_of(geometry: "LayerGeometry", left: int, right: int) -> "Pair":
    first, second = int(geometry.prompt_of[left]), int(geometry.prompt_of[right])
    return min(first, second), max(first, second)


def _pair_line(measured: "Measurements", one: Named, what: str = "") -> str:
    names = " and ".join(measured.target.name_of(prompt) for prompt in one.pair)
    return f"{what}distance {show(one.distance)}: {names}"


def _context_lines(measured: "Measurements", layer: Layer, found: Found) -> list[str]:
    lines = []
    if layer == 0 and found.collisions:
        lines.append("layer 0 sees the last token and its position only")
    n = len(measured.target.prompts)
    if not found.total and measured.target.prompts.kinds is None:
        lines.append(
            f"for independent draws, 95 %: a random pair collides with probability at most"
            f" {exact_collision_rate_bound(n):.2g}, nearly at most {near_collision_rate_bound(n):.2g}"
        )
    return lines
