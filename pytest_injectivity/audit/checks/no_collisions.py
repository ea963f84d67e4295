"""Judges whether prompts collide at a layer: equal, not to be told apart, or nearer than eps.

The last bits of a row depend on the shape of the batch it was computed in. Pairs within twice the noise
floor are therefore evaluated again, both prompts in batches of one shape: a pair that is equal there is
a collision, any other pair is unresolved at this precision (SPEC section 2). Both kinds fail, under
their own names, and both are diagnosed: does the architecture cause them, or do this checkpoint's values
(SPEC section 3)?
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from pytest_injectivity.audit.judging.arguments import tolerances
from pytest_injectivity.audit.judging.base import Audited, by_layer
from pytest_injectivity.audit.judging.collisions import Found, Named, floor_lines, would_pass
from pytest_injectivity.audit.judging.common import not_finite
from pytest_injectivity.audit.judging.diagnosis import Diagnosed
from pytest_injectivity.core.layers import Layer, LayerSpec, layer_id
from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.tolerances import PerLayer, Tolerance
from pytest_injectivity.quantization.grid import Grid, GridLike
from pytest_injectivity.results.verdict import Reason, Verdict, judge
from pytest_injectivity.stats import exact_collision_rate_bound, near_collision_rate_bound

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.measurements import Measurements
    from pytest_injectivity.geometry.layer import LayerGeometry
    from pytest_injectivity.geometry.search.near_pairs import NearPairs
    from pytest_injectivity.states.diagnosis import Pair

_QUANTITY = "colliding pairs"
_EVALUATED_AGAIN = 1000
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
        eps: absolute, or ``"1e-5 rel"`` of the layer's mean norm; below the noise floor it is
            decided at the noise floor (SPEC section 2).
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
    found: dict[Layer, Found] = {}
    for layer, tolerance in tolerances.items():
        if lost := not_finite(measured, layer, _QUANTITY, 0.0):
            reasons[layer] = lost
            continue
        geometry = measured.geometry(layer, bits=grid)
        eps = tolerance.absolute(geometry.mean_norm)
        if grid is None:
            found[layer] = _in_states(measured, layer, geometry, eps)
        else:
            reasons[layer] = _rounded(measured, layer, grid, _on_grid(geometry, eps))
    # The pairs of all layers are diagnosed together, because they share the draws of the weights.
    doubtful = {
        layer: one.named("collision") + one.named("unresolved") for layer, one in found.items()
    }
    diagnosed = Diagnosed.asked(measured, doubtful)
    for layer, one in found.items():
        reasons[layer] = _computed(measured, layer, one, diagnosed[layer])
    return [reasons[layer] for layer in tolerances]


def _computed(measured: "Measurements", layer: Layer, found: Found, diagnosed: Diagnosed) -> Reason:
    """The reason of a layer from the states as the model computed them."""
    headline = found.headline(
        diagnosed.counted(found.named("collision"), found.collisions),
        diagnosed.counted(found.named("unresolved"), found.unresolved),
    )
    lines = []
    for one in found.pairs[:_LISTED]:
        lines += [_pair_line(measured, one, f"{one.kind}, "), diagnosed.line(one.pair)]
    if doubtful := found.collisions + found.unresolved:
        lines.append(diagnosed.summary(doubtful))
    lines += floor_lines(measured, layer, found.eps)
    return _reason(measured, layer, found, headline, filter(None, lines))


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
        f"states rounded to {grid.words}{scale}; {equal} collide; noise floor before rounding"
        f" {show(measured.noise(layer).value)}"
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
    """Count the pairs of rounded rows, which are equal or not: there is no noise between them."""
    near = geometry.near(eps, limit=_LISTED)
    collisions = geometry.equal.pairs
    return Found(
        collisions=collisions,
        unresolved=0,
        near=near.count - collisions,
        eps=eps,
        threshold=eps,
        pairs=_named(geometry, near, ["collision"] * min(collisions, _LISTED)),
        closest=geometry.closest.distance,
    )


def _in_states(
    measured: "Measurements", layer: Layer, geometry: "LayerGeometry", eps: float
) -> Found:
    noise = measured.noise(layer).value
    threshold = max(eps, noise)
    doubtful = geometry.near(2 * noise, limit=_EVALUATED_AGAIN)
    equal = _evaluated_equal(measured, layer, geometry, doubtful)
    # Beyond the pairs evaluated again, the captured rows themselves say which are equal.
    collisions = sum(equal) + geometry.equal.pairs - int((doubtful.distance == 0).sum())
    near = geometry.near(threshold, limit=_DIAGNOSED)
    return Found(
        collisions=collisions,
        unresolved=doubtful.count - collisions,
        near=max(0, near.count - doubtful.count),
        eps=eps,
        threshold=threshold,
        pairs=_named(
            geometry,
            near if near.count > doubtful.count else doubtful,
            ["collision" if same else "unresolved" for same in equal],
        ),
        closest=geometry.closest.distance,
    )


def _named(geometry: "LayerGeometry", near: "NearPairs", kinds: Sequence[str]) -> tuple[Named, ...]:
    """The closest pairs with their kinds; pairs past the kinds given are near."""
    prompts = geometry.prompt_of
    listed = zip(near.left, near.right, near.distance, strict=True)
    return tuple(
        Named(
            kinds[at] if at < len(kinds) else "near",
            (int(prompts[left]), int(prompts[right])),
            float(distance),
        )
        for at, (left, right, distance) in enumerate(islice(listed, _DIAGNOSED))
    )


def _pair_line(measured: "Measurements", one: Named, what: str = "") -> str:
    names = " and ".join(measured.target.name_of(prompt) for prompt in one.pair)
    return f"{what}distance {show(one.distance)}: {names}"


def _evaluated_equal(
    measured: "Measurements", layer: Layer, geometry: "LayerGeometry", pairs: "NearPairs"
) -> list[bool]:
    left, right = geometry.prompt_of[pairs.left], geometry.prompt_of[pairs.right]
    prompts = list(zip(left.tolist(), right.tolist(), strict=True))
    return measured.equal_together(layer, prompts)


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
