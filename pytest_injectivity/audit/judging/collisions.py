"""Counts of colliding pairs, and their lines in a verdict, for prompts and for tokens alike."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pytest_injectivity.audit.judging.common import noise_line
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.numbers import show

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.measurements import Measurements
    from pytest_injectivity.states.diagnosis import Pair


class Named(NamedTuple):
    """A pair of prompts, its kind (``collision``, ``unresolved``, ``near``) and its distance."""

    kind: str
    pair: "Pair"
    distance: float


class Found(NamedTuple):
    """The pairs that count against a layer.

    Attributes:
        collisions: equal, also when evaluated again in one shape.
        unresolved: within twice the noise floor, and not equal when evaluated again.
        near: farther apart than twice the noise floor, and within eps.
        eps: the tolerance asked for, in the states' units.
        threshold: the larger of eps and the noise floor, within which pairs count.
        pairs: the closest pairs of prompts, with their kinds and distances.
        closest: the smallest distance of all pairs.
    """

    collisions: int
    unresolved: int
    near: int
    eps: float
    threshold: float
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
            said.append(f"{self.near} near (eps {show(self.threshold)})")
        return ", ".join(said) or "no collision"


def floor_lines(measured: "Measurements", layer: Layer, eps: float) -> list[str]:
    """Lines on the noise floor, which is the threshold where eps is smaller."""
    noise = measured.noise(layer).value
    lines = [noise_line(measured, layer)]
    if eps < noise:
        lines.append(f"eps {show(eps)} is below the noise floor: decided at {show(noise)}")
    return lines


def would_pass(found: Found) -> str:
    """The text on which eps would have passed; empty where the layer passes."""
    if not found.total:
        return ""
    if found.collisions or found.unresolved:
        return "no eps: pairs are equal or cannot be told apart at this precision"
    return f"eps below {found.closest!r}"
