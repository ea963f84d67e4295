"""What is proved of a layer on a prompt set, what is estimated, and what is not known (SPEC section 2).

A comparison of numbers that were captured, bit for bit, is a proof about these numbers. Whatever hangs
on a sample, of evaluations or of distances to float64, is an estimate. What was not evaluated is not
known.
"""

from dataclasses import dataclass
from enum import StrEnum


class Basis(StrEnum):
    """What a claim rests on."""

    PROVED = "proved"
    """A comparison of all the numbers that the claim is about."""
    ESTIMATED = "estimated"
    """A sample."""
    UNKNOWN = "unknown"
    """Nothing."""


_BEST = (Basis.PROVED, Basis.ESTIMATED, Basis.UNKNOWN)


@dataclass(frozen=True)
class Claim:
    """Whether the states of all prompts of the set differ, in one sense.

    Attributes:
        basis: what that rests on.
        distinct: whether they do; None where it is not known.
        why: what was compared or measured, or why it is not known.
    """

    basis: Basis
    distinct: bool | None
    why: str

    @property
    def proved(self) -> bool:
        """Whether they are proved to differ."""
        return self.basis is Basis.PROVED and bool(self.distinct)

    @property
    def refuted(self) -> bool:
        """Whether two of them are proved to be equal."""
        return self.basis is Basis.PROVED and self.distinct is False

    @property
    def estimated(self) -> bool:
        """Whether a sample says that they differ."""
        return self.basis is Basis.ESTIMATED and bool(self.distinct)


@dataclass(frozen=True)
class Certificate:
    """What is known of a layer's states on the prompt set.

    Attributes:
        captured: they differ as captured: the numbers that were computed in the batches of the capture.
        batched: they are told apart in whatever batch the deployed arithmetic evaluates them.
        exact: they differ in exact arithmetic, with the weights as they are.
    """

    captured: Claim
    batched: Claim
    exact: Claim

    def joined(self, other: "Certificate | None") -> "Certificate":
        """Of each claim of two tests on one layer the one that is better known; of equal ones this.

        A proof that two states are equal stands, whatever another test has proved of others.
        """
        if other is None:
            return self
        return Certificate(
            _better(self.captured, other.captured),
            _better(self.batched, other.batched),
            _better(self.exact, other.exact),
        )


def _better(one: Claim, other: Claim) -> Claim:
    return min(one, other, key=lambda claim: (not claim.refuted, _BEST.index(claim.basis)))
