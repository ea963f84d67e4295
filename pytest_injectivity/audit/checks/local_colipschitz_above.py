"""Judges how much one step brings states together, near the tokens of the prompts (SPEC section 11).

Behind a prefix the state of the next token is a function of its embedding row. The smallest singular
value of its Jacobian is the local co-Lipschitz constant of that step ([VS]): by how much rows that are
near the token's come together at most. It is local, and says nothing of other tokens, whose rows are
far away. Measured here it predicts little of what inversion costs; the margin predicts more
(docs/theory.md, "Does contraction say what inversion costs?").
"""

import math
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from pytest_injectivity.audit.judging.arguments import REQUIRED, at_least, count, flag
from pytest_injectivity.audit.judging.base import Audited, blocks_alone, by_layer
from pytest_injectivity.audit.judging.common import not_finite
from pytest_injectivity.core.layers import Layer, LayerSpec, layer_id
from pytest_injectivity.core.numbers import show, show_down
from pytest_injectivity.core.text import number_of, verb
from pytest_injectivity.core.tolerances import PerLayer
from pytest_injectivity.results.verdict import Reason, Status, Verdict, judge

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.contractions import Place
    from pytest_injectivity.audit.measurements.measurements import Measurements
    from pytest_injectivity.theory.contraction import StepScales

_LOCAL = (
    "local: rows of other tokens are far away, and the margin says how far apart their states are"
)
_NORM = "the final norm loses the length of a state (LayerNorm its mean, too): judge the blocks"


def check_local_colipschitz_above(
    audit: "Audited",
    layer: LayerSpec | None = None,
    alpha: PerLayer[float] = REQUIRED,
    *,
    normalized: bool = True,
    prompts: int = 5,
    positions: int = 2,
) -> Verdict:
    """At sampled positions the local co-Lipschitz constant of one step is at least ``alpha``.

    It is the smallest singular value of the Jacobian of a token's state by its embedding row, in true
    float64. By default it is judged as a share of the largest one: by that, one factor of all states
    or of all embedding rows, and a rotation of either, changes no verdict. A value below what rounding
    makes of 0 is not known and does not pass; how much that is is estimated at each position, not
    bounded, by a second backward pass with noise of the size of rounding. The final norm
    loses the length of a state, LayerNorm its mean too, so that there the value is 0 or says how large
    the norm's epsilon is.

    This is local: it says nothing of the rows of other tokens. It predicts little of which prompts
    are recovered or at what cost (docs/theory.md); `check_margin_above` and
    `check_one_step_distinct` measure what does. What it costs: at each position as many rows as the
    width, a pass of them to the deepest layer and two backward passes from each layer.

    Args:
        audit: the audit whose model is judged.
        layer: the layers judged; None: those that ``alpha`` names, else the config's but the final norm.
        alpha: the bound: a share of the largest singular value when normalized, else a distance of
            states per distance of embedding rows.
        normalized: divide by the largest singular value at the same position.
        prompts: how many prompts, those with the smallest hashes.
        positions: how many of each are drawn by the seed.

    Raises:
        LayerError: the model has no such layer.
        OptionError: a number is not accepted.

    Example:
        >>> audit.check_local_colipschitz_above(1, 1e-9, prompts=2, positions=1).passed
        True
    """
    asked = count("prompts", prompts), count("positions", positions)
    share = flag("normalized", normalized)
    bounds = by_layer(audit, "alpha", at_least("alpha", alpha), blocks_alone(audit, layer, alpha))
    measured = audit.measurements
    quantity = f"local co-Lipschitz constant{' (normalized)' if share else ''}"
    lost = {one: not_finite(measured, one, quantity, bounds[one]) for one in bounds}
    places = measured.contractions.places(*asked)
    finite = [one for one in bounds if lost[one] is None]
    found = measured.contractions.of(places, finite) if finite else {}
    reasons = []
    for one, bound in bounds.items():
        step = _Steps(measured, one, places, found.get(one, ()), normalized=share)
        reasons.append(lost[one] or _judged(step, quantity, bound))
    several = number_of(len({prompt for prompt, _ in places}), "prompt")
    notes = [f"{number_of(len(places), 'position')} of {several}, in true float64", _LOCAL]
    return audit.verdict("local_colipschitz_above", reasons, notes)


class _Steps(NamedTuple):
    """The steps of a layer, and the unit in which they are judged."""

    measured: "Measurements"
    layer: Layer
    places: "Sequence[Place]"
    scales: "Sequence[StepScales]"
    normalized: bool

    @property
    def unknown(self) -> int:
        """How many smallest values are below what rounding makes of 0."""
        return sum(not one.known for one in self.scales)

    @property
    def not_known(self) -> str:
        """At how many positions nothing is known."""
        return f"not known at {self.unknown} of {number_of(len(self.scales), 'position')}"

    @property
    def lost(self) -> int:
        """How many Jacobians are not finite."""
        return sum(math.isnan(one.largest) for one in self.scales)

    @property
    def values(self) -> list[float]:
        """What is judged at each position; where it is not known, what it is at most."""
        if self.normalized:
            return [max(one.ratio, one.floor_ratio) for one in self.scales]
        return [max(one.smallest, one.floor) for one in self.scales]


def _judged(steps: _Steps, quantity: str, bound: float) -> Reason:
    known = bool(steps.scales) and not steps.lost
    value = min(steps.values) if known else math.nan
    status = _status(steps, value, bound)
    return Reason(
        where=layer_id(steps.layer),
        status=status,
        quantity=quantity,
        value=value,
        bound=bound,
        relation=">=",
        headline=_headline(steps, value, status),
        evidence=tuple(_lines(steps)),
        would_pass="" if steps.unknown or not value > 0 else f"alpha={show_down(value)}",
        figures=_figures(steps) if known else {},
    )


def _status(steps: _Steps, value: float, bound: float) -> Status:
    """INSUFFICIENT where nothing was measured, or where the bound is below what can be known."""
    if not steps.scales:
        return Status.INSUFFICIENT
    status = judge(value, ">=", bound)
    return Status.INSUFFICIENT if steps.unknown and status is Status.PASS else status


def _headline(steps: _Steps, value: float, status: Status) -> str:
    if not steps.scales:
        return "not measured: the model has no float64 copy"
    if steps.lost:
        some = f"{steps.lost} of {number_of(len(steps.scales), 'Jacobian')}"
        return f"{some} {verb(steps.lost, 'is', 'are')} not finite"
    if not steps.scales[steps.values.index(value)].known:
        return f"not known, below {show(value)}"
    return steps.not_known if status is Status.INSUFFICIENT else ""


def _figures(steps: _Steps) -> dict[str, float]:
    """The spread over positions of both singular values and of their ratio."""
    ratios = [max(one.ratio, one.floor_ratio) for one in steps.scales]
    parts = {
        "smallest": [max(one.smallest, one.floor) for one in steps.scales],
        "largest": [one.largest for one in steps.scales],
        "ratio": ratios,
    }
    figures: dict[str, float] = {
        "prompts": len({prompt for prompt, _ in steps.places}),
        "positions": len(steps.places),
        "unknown": steps.unknown,
        "known_from": max(one.floor_ratio for one in steps.scales),
        "normalized": int(steps.normalized),
    }
    for name, values in parts.items():
        figures[f"{name}_least"] = min(values)
        figures[f"{name}_median"] = median(values)
        figures[f"{name}_greatest"] = max(values)
    return figures


def _lines(steps: _Steps) -> list[str]:
    """Lines on the position that contracts most, and on the others."""
    if not steps.scales:
        return [steps.measured.no_float64()]
    if steps.lost:
        return list(filter(None, [steps.measured.target.facts.not_finite_line]))
    values = steps.values
    at = values.index(min(values))
    prompt, position = steps.places[at]
    one = steps.scales[at]
    smallest = show(one.smallest) if one.known else f"below {show(one.floor)}"
    name = f"{steps.measured.target.name_of(prompt)}, position {position}"
    lines = [f"{name}: singular values {smallest} to {show(one.largest)}"]
    if len(values) > 1:
        lines.append(
            f"over {len(values)} positions: median {show(median(values))}, largest {show(max(values))}"
        )
    if steps.unknown:
        lines.append(f"{steps.not_known}: rounding makes as much of 0")
        if steps.layer == "norm":
            lines.append(_NORM)
    return lines
