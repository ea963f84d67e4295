"""Collisions of one layer: equal, not to be told apart, or nearer than eps (SPEC section 2).

A row's bits depend on the shape it was computed in. Pairs within twice the noise floor are therefore
evaluated again, both prompts in batches of one shape: equal there is a collision, anything else is
unresolved at this precision. Both fail, under their own names.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_injectivity.checks.common import noise_line, not_finite, pair_line
from pytest_injectivity.layers import Layer, layer_id
from pytest_injectivity.stats import exact_collision_rate_bound, near_collision_rate_bound
from pytest_injectivity.tolerance import Tolerance
from pytest_injectivity.verdict import Reason, judge, show

if TYPE_CHECKING:
    from pytest_injectivity.geometry.layer import LayerGeometry
    from pytest_injectivity.geometry.pairs import NearPairs
    from pytest_injectivity.measurements import Measurements

_QUANTITY = "colliding pairs"
_EVALUATED_AGAIN = 1000
_LISTED = 3


@dataclass(frozen=True)
class Found:
    """The pairs that count against a layer.

    Attributes:
        collisions: equal, also when evaluated again in one shape.
        unresolved: within twice the noise floor, and not equal when evaluated again.
        near: farther apart than that, and within eps.
        threshold: what eps came to, in the states' units.
        lines: the closest pairs, named.
        closest: the smallest distance of all pairs.
    """

    collisions: int
    unresolved: int
    near: int
    threshold: float
    lines: tuple[str, ...]
    closest: float

    @property
    def total(self) -> int:
        """All pairs that count against the layer."""
        return self.collisions + self.unresolved + self.near

    def headline(self, layer: Layer) -> str:
        """The counts that are not zero."""
        word = "structural collision" if layer == 0 else "collision"
        counts = ((self.collisions, word), (self.unresolved, "unresolved pair"))
        said = [f"{n} {name}{'s' if n > 1 else ''}" for n, name in counts if n]
        if self.near:
            said.append(f"{self.near} near (eps {show(self.threshold)})")
        return ", ".join(said) or "no collision"


def judge_collisions(
    measured: "Measurements", layer: Layer, tolerance: Tolerance, bits: int | None
) -> Reason:
    """The reason a layer contributes to ``no_collisions``."""
    if reason := not_finite(measured, layer, _QUANTITY, 0.0):
        return reason
    geometry = measured.geometry(layer, bits=bits)
    eps = tolerance.absolute(geometry.mean_norm)
    if bits is None:
        found = _in_states(measured, layer, geometry, eps)
        evidence = [*found.lines, *_floor_lines(measured, layer, eps)]
    else:
        found = _on_grid(measured, geometry, eps)
        evidence = [*found.lines, f"states rounded to {bits} bits; equal codes collide"]
    return Reason(
        layer=layer_id(layer),
        status=judge(found.total, "<=", 0),
        quantity=_QUANTITY,
        value=found.total,
        bound=0,
        relation="<=",
        headline=found.headline(layer),
        evidence=(*evidence, *_context_lines(measured, layer, found)),
        would_pass=_would_pass(found),
    )


def _on_grid(measured: "Measurements", geometry: "LayerGeometry", eps: float) -> Found:
    """Rounded rows are equal or not: there is no noise between them."""
    near = geometry.near(eps, limit=_LISTED)
    collisions = geometry.equal.pairs
    lines = tuple(
        pair_line(measured, geometry, int(left), int(right), f"distance {show(distance)}")
        for left, right, distance in zip(near.left, near.right, near.distance, strict=True)
    )
    closest = float(geometry.nearest.distance.min())
    return Found(collisions, 0, near.count - collisions, eps, lines, closest)


def _in_states(
    measured: "Measurements", layer: Layer, geometry: "LayerGeometry", eps: float
) -> Found:
    noise = measured.noise(layer).value
    threshold = max(eps, noise)
    doubtful = geometry.near(2 * noise, limit=_EVALUATED_AGAIN)
    equal = _evaluated_equal(measured, layer, geometry, doubtful)
    # Beyond the pairs evaluated again, the captured rows themselves say which are equal.
    collisions = sum(equal) + geometry.equal.pairs - int((doubtful.distance == 0).sum())
    near = geometry.near(threshold, limit=_LISTED)
    pairs = near if near.count > doubtful.count else doubtful
    names = ["collision" if same else "unresolved" for same in equal]
    names += ["near"] * (len(pairs.left) - len(names))
    lines = tuple(
        pair_line(measured, geometry, int(left), int(right), f"{name}, distance {show(distance)}")
        for left, right, distance, name in list(
            zip(pairs.left, pairs.right, pairs.distance, names, strict=False)
        )[:_LISTED]
    )
    return Found(
        collisions=collisions,
        unresolved=doubtful.count - collisions,
        near=max(0, near.count - doubtful.count),
        threshold=threshold,
        lines=lines,
        closest=float(geometry.nearest.distance.min()),
    )


def _evaluated_equal(
    measured: "Measurements", layer: Layer, geometry: "LayerGeometry", pairs: "NearPairs"
) -> list[bool]:
    from pytest_injectivity.states.again import equal_when_evaluated_together

    left, right = geometry.prompt_of[pairs.left], geometry.prompt_of[pairs.right]
    prompts = list(zip(left.tolist(), right.tolist(), strict=True))
    return equal_when_evaluated_together(measured.decoder, measured.prompts.ids, prompts, layer)


def _floor_lines(measured: "Measurements", layer: Layer, eps: float) -> list[str]:
    noise = measured.noise(layer).value
    lines = [noise_line(measured, layer)]
    if eps < noise:
        lines.append(f"eps {show(eps)} is below the noise floor: decided at {show(noise)}")
    return lines


def _context_lines(measured: "Measurements", layer: Layer, found: Found) -> list[str]:
    lines = []
    if layer == 0 and found.collisions:
        lines.append("layer 0 sees the last token only: equal last tokens collide by construction")
    n = len(measured.prompts)
    if not found.total and measured.prompts.kinds is None:
        lines.append(
            f"for independent draws, 95 %: a random pair collides with probability at most"
            f" {exact_collision_rate_bound(n):.2g}, nearly at most {near_collision_rate_bound(n):.2g}"
        )
    return lines


def _would_pass(found: Found) -> str:
    if not found.total:
        return ""
    if found.collisions or found.unresolved:
        return "no eps: pairs are equal or cannot be told apart at this precision"
    return f"eps below {found.closest!r}"
