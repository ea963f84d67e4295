"""Judges how far the weights are from weights at which the closest prompts collide (SPEC section 11).

The distance is that of the smallest change that was found, an upper bound: red is certain, and green
says that no smaller change was found.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pytest_injectivity.audit.judging.arguments import REQUIRED, at_least, count
from pytest_injectivity.audit.judging.base import Audited, by_layer
from pytest_injectivity.audit.judging.common import not_finite
from pytest_injectivity.audit.measurements.discriminants import COMPARED, roundings_with
from pytest_injectivity.core.layers import Layer, LayerSpec, layer_id
from pytest_injectivity.core.numbers import show, show_down
from pytest_injectivity.core.tolerances import PerLayer
from pytest_injectivity.results.verdict import Reason, Status, Verdict, judge

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.measurements import Measurements
    from pytest_injectivity.states.diagnosis import Pair
    from pytest_injectivity.theory.discriminant import CollidingChange

_LEAST_BITS = 2
_BLOCK = "block"
# A rounding that moves weights by less, of their norm, only repeats what float32 has rounded.
_REPEATED = 2.0**-23
_UPPER = "in true float64; an upper bound: a smaller change that was not found may exist"


class _Asked(NamedTuple):
    """Which changes are looked for, and what a distance is measured in."""

    over: str | int
    pairs: int
    bits: int | None

    @property
    def roundings(self) -> tuple[int, ...]:
        """The roundings that a change is compared with."""
        return roundings_with(self.bits)

    @property
    def quantity(self) -> str:
        """What is judged."""
        return f"{self.bits}-bit roundings" if self.bits else "weight change"

    def weights(self, layer: Layer, n_layers: int) -> str | int:
        """Which weights may change for a layer."""
        if self.over != _BLOCK:
            return self.over
        return n_layers if isinstance(layer, str) else layer

    def distance(self, found: "CollidingChange") -> float:
        """The distance of a pair, in the unit asked for; NaN where no collision was found."""
        if not found.reached:
            return math.nan
        if self.bits is None:
            return found.relative
        return _roundings(found, str(self.bits))

    def status(self, distances: Sequence[float], bound: float) -> Status:
        """Of the distances of a layer's pairs; INSUFFICIENT where one that decides is not known."""
        known = [one for one in distances if not math.isnan(one)]
        # Any bound is met by a distance in a unit that is zero.
        if not known or math.isinf(min(known)):
            return Status.INSUFFICIENT
        status = judge(min(known), ">=", bound)
        if status is Status.PASS and len(known) < len(distances):
            return Status.INSUFFICIENT
        return status


def check_discriminant_distance_above(
    audit: "Audited",
    layer: LayerSpec | None = None,
    distance: PerLayer[float] = REQUIRED,
    *,
    over: str | int = "all",
    pairs: int = 1,
    bits: int | None = None,
) -> Verdict:
    """No change of the weights below ``distance`` was found at which the closest prompts collide.

    Args:
        audit: the audit whose model is judged.
        layer: the layers judged.
        distance: the bound: the norm of the change, as a share of the norm of the weights that may
            change; with ``bits``, how many roundings to so many bits it is, in the directions that move
            the two states.
        over: the weights that may change: ``all``, ``embedding``, ``block`` (each layer's own), or the
            number of a block.
        pairs: how many pairs of nearest prompts are looked at; the smallest distance is judged.
        bits: of the rounding that is the unit of ``distance``; None: the weights' norm is.

    Raises:
        LayerError: the model has no such layer.
        OptionError: a number is not accepted, the weights named do not change a layer, or they are too
            many for their derivatives to be held.

    Example:
        >>> audit.check_discriminant_distance_above(1, 1e-6, over="embedding").passed
        True
    """
    asked = _Asked(
        over, count("pairs", pairs), None if bits is None else count("bits", bits, _LEAST_BITS)
    )
    bounds = by_layer(audit, "distance", at_least("distance", distance), layer)
    measured = audit.measurements
    n_layers = measured.target.n_layers
    lost = {one: not_finite(measured, one, asked.quantity, bounds[one]) for one in bounds}
    places = {
        one: [(one, pair, asked.weights(one, n_layers)) for pair in _nearest(measured, one, pairs)]
        for one in bounds
        if lost[one] is None
    }
    every = [place for some in places.values() for place in some]
    found = measured.discriminants.of(every, asked.roundings) if every else {}
    reasons = [
        lost[one]
        or _judged(
            measured,
            one,
            bounds[one],
            asked,
            {place[1]: found[place] for place in places[one]} if found else {},
        )
        for one in bounds
    ]
    notes = [*_smallest(reasons), _UPPER]
    return audit.verdict("discriminant_distance_above", reasons, notes)


def _nearest(measured: "Measurements", layer: Layer, count: int) -> "list[Pair]":
    """The closest pairs of nearest neighbors, closest first, as indexes of prompts."""
    geometry = measured.geometry(layer)
    nearest = geometry.nearest
    pairs = {
        (min(row, other), max(row, other)): None
        for row in np.argsort(nearest.distance, kind="stable").tolist()
        for other in [int(nearest.index[row])]
    }
    prompt = geometry.prompt_of
    return [(int(prompt[one]), int(prompt[two])) for one, two in list(pairs)[:count]]


def _judged(
    measured: "Measurements",
    layer: Layer,
    bound: float,
    asked: _Asked,
    found: "dict[Pair, CollidingChange]",
) -> Reason:
    distances = {pair: asked.distance(one) for pair, one in found.items()}
    reached = sorted((one, pair) for pair, one in distances.items() if not math.isnan(one))
    value = reached[0][0] if reached else math.nan
    return Reason(
        where=layer_id(layer),
        status=asked.status(list(distances.values()), bound),
        quantity=asked.quantity,
        value=value,
        bound=bound,
        relation=">=",
        headline=_headline(found, value, asked.bits),
        evidence=tuple(_lines(measured, found, [pair for _, pair in reached])),
        would_pass=f"distance={show_down(value)}" if 0 < value < math.inf else "",
        figures=_figures(found, reached[0][1]) if reached else {},
    )


def _smallest(reasons: Sequence[Reason]) -> list[str]:
    """A line on the layer with the smallest distance, in the norm of the weights and in roundings."""
    known = [one for one in reasons if not math.isnan(one.value)]
    if not known:
        return []
    least = min(known, key=lambda reason: reason.value)
    many = {bits: least.figures[f"roundings_{bits}_bits"] for bits in COMPARED}
    units = " or ".join(
        f"{show(one)} roundings to {bits} bits" for bits, one in many.items() if math.isfinite(one)
    )
    change = f"{show(least.figures['change'])} of the weights' norm"
    return [f"smallest at {least.where}: {', '.join(filter(None, [change, units]))}"]


def _roundings(found: "CollidingChange", bits: str) -> float:
    """How many roundings the change is; infinite where one moves nothing."""
    size = found.roundings[bits]
    if found.norm and size.norm <= _REPEATED * found.weights:
        return math.inf
    return size.roundings(found.norm)


def _headline(found: "dict[Pair, CollidingChange]", value: float, bits: int | None) -> str:
    if not found:
        return "not measured: the model has no float64 copy"
    if math.isnan(value):
        return "no change that makes the closest pair collide was found"
    if math.isinf(value):
        return _moves_nothing(bits)
    return "" if value else "the closest pair collides as it is"


def _figures(found: "dict[Pair, CollidingChange]", pair: "Pair") -> dict[str, float]:
    """Of the pair that is judged."""
    one = found[pair]
    figures = {
        "pairs": len(found),
        "distance": one.distance,
        "change": one.relative,
        "first_order": one.first_order / one.weights,
    }
    for bits, size in one.roundings.items():
        figures[f"rounding_{bits}_bits"] = size.norm / one.weights
        figures[f"projected_{bits}_bits"] = size.projected / one.weights
        figures[f"roundings_{bits}_bits"] = _roundings(one, bits)
    return figures


def _lines(
    measured: "Measurements",
    found: "dict[Pair, CollidingChange]",
    reached: "Sequence[Pair]",
) -> list[str]:
    """Lines on the nearest collision, its roundings, and pairs for which none was found."""
    if not found:
        return [measured.no_float64()]
    lines = []
    for pair in reached[:1]:
        one = found[pair]
        lines.append(
            f"{_names(measured, pair)}, distance {show(one.distance)}: collide after a change of"
            f" {one.over} by {show(one.relative)} of its norm (first order:"
            f" {show(one.first_order / one.weights)})"
        )
        if one.merged:
            lines.append("it makes the embedding rows of the tokens in which both differ equal")
        lines += [_compared(one, bits) for bits in one.roundings if one.norm]
    lines += [
        f"{_names(measured, pair)}: no collision found, {show(one.left)} of the norm is left"
        for pair, one in found.items()
        if not one.reached
    ]
    if len(found) > 1:
        lines.append(f"the smallest of {len(found)} pairs of nearest prompts")
    return lines


def _compared(found: "CollidingChange", bits: str) -> str:
    """A line on the change in roundings to so many bits."""
    size, many = found.roundings[bits], _roundings(found, bits)
    if math.isinf(many):
        return _moves_nothing(bits)
    return (
        f"a rounding to {bits} bits changes it by {show(size.norm / found.weights)}, in the directions"
        f" that matter by {show(size.projected / found.weights)}: {show(many)} of them"
    )


def _moves_nothing(bits: object) -> str:
    return f"a rounding to {bits} bits moves nothing of these weights"


def _names(measured: "Measurements", pair: "Pair") -> str:
    return " and ".join(map(measured.target.name_of, pair))
