"""Judges whether states that a serving engine wrote collide: equal, or nearer than eps."""

from typing import TYPE_CHECKING

from pytest_injectivity.audit.judging.arguments import tolerances
from pytest_injectivity.audit.judging.base import Audited
from pytest_injectivity.audit.judging.served import (
    not_as_claimed,
    not_finite_anywhere,
    served_bounds,
    served_lines,
    served_pair_line,
)
from pytest_injectivity.core.layers import Layer, LayerSpec, layer_id
from pytest_injectivity.core.numbers import show, show_down
from pytest_injectivity.core.tolerances import PerLayer, Tolerance
from pytest_injectivity.results.verdict import Reason, Verdict, judge

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.measurements import Measurements

_QUANTITY = "colliding pairs"
_LISTED = 3


def check_served_no_collisions(
    audit: "Audited",
    layer: LayerSpec | None = None,
    eps: PerLayer[float | str] = 0.0,
) -> Verdict:
    """No two prompts in ``--injx-states`` have equal last states, or last states within eps.

    The rows are those of the files: nothing is captured, and no pair is evaluated again. States that are
    not what is claimed fail first (SPEC section 9).

    Args:
        audit: the audit whose model they are claimed to be of.
        layer: the layers judged; None: all that the files hold.
        eps: absolute, or ``"1e-5 rel"`` of the layer's mean norm.

    Raises:
        LayerError: the model has no such layer.
        OptionError: eps is not accepted, no states are named, or they hold no such layer.

    Example:
        >>> audit.check_served_no_collisions()
        Traceback (most recent call last):
        pytest_injectivity.errors.OptionError: no states captured elsewhere are named: ...
    """
    asked = served_bounds(audit, "eps", tolerances(eps), layer)
    measured = audit.measurements
    reasons = not_as_claimed(measured, asked, _QUANTITY, 0.0, "<=") or [
        judge_served_collisions(measured, one, tolerance) for one, tolerance in asked.items()
    ]
    return audit.verdict("served_no_collisions", reasons)


def judge_served_collisions(measured: "Measurements", layer: Layer, tolerance: Tolerance) -> Reason:
    """The reason a layer contributes to ``served_no_collisions``."""
    if lost := not_finite_anywhere(measured, layer, _QUANTITY, 0.0, "<="):
        return lost
    geometry = measured.served_geometry(layer)
    eps = tolerance.absolute(geometry.mean_norm)
    near = geometry.near(eps, limit=_LISTED)
    equal = geometry.equal.pairs
    listed = zip(near.left.tolist(), near.right.tolist(), near.distance.tolist(), strict=True)
    said = f"{equal} equal, {near.count - equal} near (eps {show(eps)})"
    return Reason(
        where=layer_id(layer),
        status=judge(near.count, "<=", 0),
        quantity=_QUANTITY,
        value=near.count,
        bound=0,
        relation="<=",
        headline=said if near.count else "no collision",
        evidence=(
            *(
                served_pair_line(measured, geometry, (left, right), f"distance {show(distance)}")
                for left, right, distance in listed
            ),
            *served_lines(measured, geometry),
        ),
        would_pass=_would_pass(equal, near.distance.tolist()),
    )


def _would_pass(equal: int, distances: list[float]) -> str:
    if equal:
        return "no eps: states are equal"
    return f"eps below {show_down(distances[0])}" if distances else ""
