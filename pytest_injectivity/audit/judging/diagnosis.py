"""What is said of a diagnosed collision (SPEC section 3).

Only where the architecture is known to be real-analytic does a draw of the weights prove anything about
almost all weights; elsewhere (ReLU, routing, quantized layers) it is told as what was seen.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.numbers import show

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.measurements import Measurements
    from pytest_injectivity.states.diagnosis import Diagnosis, Pair

# The gravest first.
_KINDS = ("structural", "not separated", "undecided", "accidental", "separated")
_SEEN = {"accidental": "separated", "structural": "not separated", "undecided": "not separated"}
_PROVEN = {
    "accidental": "accidental, this checkpoint's values are at fault",
    "structural": "structural, the architecture cannot see the difference",
}


@dataclass(frozen=True)
class Diagnosed:
    """The diagnoses of one layer's pairs.

    Attributes:
        of: by pair of prompts; pairs past the number that is diagnosed are not in it.
        analytic: whether the architecture is known to be real-analytic.
        why_not: where none was diagnosed, the reason.
    """

    of: Mapping["Pair", "Diagnosis"]
    analytic: bool
    why_not: str = ""

    @classmethod
    def asked(
        cls, measured: "Measurements", pairs: Mapping[Layer, Sequence["Pair"]]
    ) -> dict[Layer, "Diagnosed"]:
        """The diagnoses of all layers' pairs, which share the draws."""
        if not any(pairs.values()):
            return {layer: cls({}, analytic=False) for layer in pairs}
        found = measured.diagnoses(pairs)
        analytic = measured.target.assumptions.analytic_architecture
        why_not = "" if found else measured.no_float64()
        return {
            layer: cls(
                {pair: found[layer, pair] for pair in some if (layer, pair) in found},
                analytic=analytic,
                why_not=why_not,
            )
            for layer, some in pairs.items()
        }

    def kind(self, pair: "Pair") -> str:
        """One or two words for a pair."""
        if pair not in self.of:
            return "undiagnosed"
        outcome = str(self.of[pair].outcome)
        return outcome if self.analytic else _SEEN[outcome]

    def counted(self, pairs: Sequence["Pair"], total: int) -> str:
        """How many of each kind, in brackets: ``" (1 structural, 1 accidental)"``; empty if unknown.

        Args:
            pairs: the first of them.
            total: how many there are in all; the others' kinds are not known.
        """
        counts = Counter(self.kind(pair) for pair in pairs if pair in self.of)
        if not counts:
            return ""
        first = f"first {counts.total()}" if counts.total() < total else ""
        if len(counts) == 1:
            return f" ({' '.join(filter(None, (first, next(iter(counts)))))})"
        said = ", ".join(f"{counts[kind]} {kind}" for kind in _KINDS if counts[kind])
        return f" ({': '.join(filter(None, (first, said)))})"

    def line(self, pair: "Pair") -> str:
        """What was seen of a pair; empty where it was not diagnosed."""
        if pair not in self.of:
            return ""
        found, kind = self.of[pair], self.kind(pair)
        if found.separated_by:
            seen = (
                f"draw {found.separated_by} of the weights moves them"
                f" {show(found.separation)} of the norm apart"
            )
        else:
            draws = f"{len(found.separations)} draws of the weights"
            seen = f"at most {show(found.separation)} of the norm apart under {draws}"
        own = (
            "equal in float64 too"
            if found.equal_in_float64
            else f"resolved in float64: distance {show(found.distance)}"
        )
        return f"  {_PROVEN.get(kind, kind)}: {seen}; under its own weights {own}"

    def summary(self, total: int) -> str:
        """How many of the layer's pairs were diagnosed, and what that proves."""
        if not self.of:
            return f"not diagnosed: {self.why_not}"
        line = f"{len(self.of)} of {total} pairs diagnosed, closest first"
        if any(one.separated_by for one in self.of.values()) and self.analytic:
            return f"{line}; of the accidental ones generic separation is certified"
        return line
