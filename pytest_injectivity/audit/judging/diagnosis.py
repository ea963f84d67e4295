"""Words for diagnosed collisions in verdicts (SPEC section 3).

A random draw of the weights that separates a pair proves something about almost all weights only where
the architecture is known to be real-analytic. For other architectures (ReLU, routing, quantized layers)
the words say what was observed and claim no cause.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.text import number_of

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
        of: the diagnosis of each pair of prompts; pairs past the diagnosed number have none.
        analytic: whether the architecture is known to be real-analytic.
        why_not: the reason where no pair was diagnosed.
    """

    of: Mapping["Pair", "Diagnosis"]
    analytic: bool
    why_not: str = ""

    @classmethod
    def asked(
        cls, measured: "Measurements", pairs: Mapping[Layer, Sequence["Pair"]]
    ) -> dict[Layer, "Diagnosed"]:
        """Diagnose the pairs of all layers with the same draws of the weights."""
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
        """The kind of a pair in one or two words."""
        if pair not in self.of:
            return "undiagnosed"
        outcome = str(self.of[pair].outcome)
        return outcome if self.analytic else _SEEN[outcome]

    def counted(self, pairs: Sequence["Pair"], total: int) -> str:
        """Counts by kind, in brackets: ``" (1 structural, 1 accidental)"``; empty if unknown.

        Args:
            pairs: the pairs listed.
            total: the number of all pairs; those not listed have no known kind.
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
        """A line on a pair's diagnosis; empty where the pair was not diagnosed."""
        if pair not in self.of:
            return ""
        found, kind = self.of[pair], self.kind(pair)
        if found.separated_by:
            seen = (
                f"draw {found.separated_by} of the weights moves them"
                f" {show(found.separation)} of the norm apart"
            )
        else:
            draws = f"{number_of(len(found.separations), 'draw')} of the weights"
            seen = f"at most {show(found.separation)} of the norm apart under {draws}"
        own = (
            "equal in float64 too"
            if found.equal_in_float64
            else f"resolved in float64: distance {show(found.distance)}"
        )
        return f"  {_PROVEN.get(kind, kind)}: {seen}; under its own weights {own}"

    def summary(self, total: int) -> str:
        """A line on how many of the layer's pairs were diagnosed, and what that proves."""
        if not self.of:
            return f"not diagnosed: {self.why_not}"
        line = f"{len(self.of)} of {number_of(total, 'pair')} diagnosed, closest first"
        if any(one.separated_by for one in self.of.values()) and self.analytic:
            return f"{line}; of the accidental ones generic separation is certified"
        return line
