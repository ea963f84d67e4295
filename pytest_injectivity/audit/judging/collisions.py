"""Counts of colliding pairs, and their lines in a verdict, for prompts and for tokens alike."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pytest_injectivity.audit.judging.common import resolution_line
from pytest_injectivity.core.layers import Layer, layer_id
from pytest_injectivity.core.numbers import show, show_down
from pytest_injectivity.results.verdict import Reason, Status

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.doubtful_pairs import Blur
    from pytest_injectivity.audit.measurements.measurements import Measurements
    from pytest_injectivity.states.pair_decisions import Decision, Pair


class Named(NamedTuple):
    """A pair of prompts, its kind (``collision``, ``unresolved``, ``near``) and its distance."""

    kind: str
    pair: "Pair"
    distance: float


class Found(NamedTuple):
    """The pairs that count against a layer.

    Attributes:
        collisions: equal as captured, or in a shape in which they were evaluated again.
        unresolved: near the resolution, and not told apart by evaluation.
        near: within eps, and neither of the two above.
        eps: the tolerance asked for, in the states' units.
        pairs: the closest pairs of prompts, with their kinds and distances.
        closest: the smallest distance of all pairs, where a pair counts; NaN elsewhere.
    """

    collisions: int
    unresolved: int
    near: int
    eps: float
    pairs: Sequence[Named]
    closest: float

    @property
    def total(self) -> int:
        """The number of pairs that count against the layer."""
        return self.collisions + self.unresolved + self.near

    def named(self, kind: str) -> list["Pair"]:
        """Those of the listed closest pairs that are of this kind."""
        return [one.pair for one in self.pairs if one.kind == kind]

    def headline(self, of_collisions: str = "", of_unresolved: str = "") -> str:
        """The counts that are not zero, in words, each with what is known of its pairs."""
        counts = (
            (self.collisions, "collision", of_collisions),
            (self.unresolved, "unresolved pair", of_unresolved),
        )
        said = [f"{n} {name}{'s' if n > 1 else ''}{more}" for n, name, more in counts if n]
        if self.near:
            said.append(f"{self.near} near (eps {show(self.eps)})")
        return ", ".join(said) or "no collision"


def resolution_lines(measured: "Measurements", layer: Layer, eps: float) -> list[str]:
    """Lines on the resolution, and on an eps that is below it."""
    value = measured.resolution(layer).value
    lines = [resolution_line(measured.resolution(layer))]
    if 0 < eps < value:
        lines.append(f"eps {show(eps)} is below the resolution: pairs near {show(value)} decide")
    return lines


def decision_words(decision: "Decision") -> str:
    """What evaluation says of a pair, as a clause."""
    if decision.kind == "collision":
        return "equal bits in one shape"
    if decision.by == "scaled":
        apart, itself, what = (
            decision.scaled_apart,
            decision.scaled_itself,
            " in the scaled distance",
        )
    else:
        apart, itself, what = decision.apart, decision.itself, ""
    return (
        f"at least {show(apart)} apart{what} in 8 ways of evaluation, each up to {show(itself)}"
        " from itself"
    )


def blurred(
    measured: "Measurements", layer: Layer, quantity: str, blur: "Blur", lines: Iterable[str]
) -> Reason:
    """The reason of a layer whose resolution does not tell its states apart: INSUFFICIENT."""
    how = (
        f"evaluations of one state are up to {show(blur.distance)} apart in 99 of 100 states"
        f" ({blur.between}), above half of the median distance of"
        f" a nearest neighbor, {show(blur.median)}; in the scaled distance {show(blur.scaled_distance)}"
        f" against {show(blur.scaled_median)}"
    )
    return Reason(
        where=layer_id(layer),
        status=Status.INSUFFICIENT,
        quantity=quantity,
        value=math.nan,
        bound=0,
        relation="<=",
        headline=f"the resolution does not tell states apart: {blur.between} disagree",
        evidence=(how, *lines, resolution_line(measured.resolution(layer))),
    )


def would_pass(found: Found) -> str:
    """The text on which eps would have passed; empty where the layer passes."""
    if not found.total:
        return ""
    if found.collisions or found.unresolved:
        return "no eps: pairs are equal or cannot be told apart at this precision"
    return f"eps below {show_down(found.closest)}"
