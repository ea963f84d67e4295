"""Verifiers: what makes a candidate the answer, and how sure the answer is (SPEC section 4).

**Ball** accepts a candidate within ``eps`` of the state. It is exact if the observation error is at
most ``eps`` and ``eps + nu < delta / 2``. With the whole vocabulary seen and no other candidate
within ``eps + 2 nu``, as far as evaluating it again could bring one, the answer is certified. With
another one there, two tokens cannot be told apart: a collision of the one-step map, not a success.

Where nothing verifies, ``eps`` may be widened to the nearest candidate (backoff), but only while
``eps + nu < delta / 2`` still holds: past it any state at all has a nearest candidate, and a wrong
model would "recover". The answer then reads "nearest, unverified" and counts as a failure.

**Argmin** takes the nearest candidate whatever its distance. It needs no ``eps`` and proves
nothing: it is exact if the error is below ``delta / 2``, and whoever knows the error can hold it
against the margin.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from pytest_injectivity.core.shapes import Bool, Float64
from pytest_injectivity.inversion.recovery import Status


@dataclass(frozen=True)
class Judgement:
    """What a verifier says of the nearest candidate tested.

    Attributes:
        status: how sure the answer is.
        eps: the tolerance it was judged at, wider than the one given where backoff widened it.
        rivals: which of the candidates tested, the answer apart, cannot be told from it.
    """

    status: Status
    eps: float
    rivals: Bool[Tensor, " candidates"]


@runtime_checkable
class Verifier(Protocol):
    """Decides when a search may stop and what its outcome is."""

    def settles(self, distances: Float64[Tensor, " candidates"]) -> bool:
        """Whether a candidate just tested ends the search."""
        ...

    def judge(
        self, distances: Float64[Tensor, " candidates"], answer: int, margin: float | None
    ) -> Judgement:
        """Judges the nearest candidate.

        Args:
            distances: of every candidate tested, from the state; at least one is finite.
            answer: index of the nearest.
            margin: ``delta`` of the answer if the whole vocabulary was tested, else ``None``.
        """
        ...


@dataclass(frozen=True)
class Ball:
    """Accepts a candidate within ``eps``.

    Attributes:
        eps: the largest observation error, in the states' units.
        nu: how far two evaluations of one candidate may lie apart.
        backoff: the largest factor by which ``eps`` may be widened; 1 widens nothing.
    """

    eps: float
    nu: float
    backoff: float = 1.0

    def settles(self, distances: Float64[Tensor, " candidates"]) -> bool:
        """A candidate within ``eps`` ends the search."""
        return bool((distances <= self.eps).any())

    def judge(
        self, distances: Float64[Tensor, " candidates"], answer: int, margin: float | None
    ) -> Judgement:
        """See :class:`Verifier`."""
        nearest = float(distances[answer])
        if nearest <= self.eps:
            rivals = _others(distances <= self.eps + 2 * self.nu, answer)
            sure = Status.ACCEPTED if margin is None else Status.CERTIFIED
            return Judgement(Status.AMBIGUOUS if rivals.any() else sure, self.eps, rivals)
        unique = margin is not None and nearest + self.nu < margin / 2
        none = distances < 0
        if unique and nearest <= self.backoff * self.eps:
            return Judgement(Status.ACCEPTED, nearest, none)
        return Judgement(Status.NEAREST, self.eps, none)


@dataclass(frozen=True)
class Argmin:
    """Takes the nearest candidate of the whole vocabulary.

    Attributes:
        nu: how far two evaluations of one candidate may lie apart.
    """

    nu: float

    def settles(self, distances: Float64[Tensor, " candidates"]) -> bool:  # noqa: ARG002
        """Nothing ends the search before the vocabulary does."""
        return False

    def judge(
        self,
        distances: Float64[Tensor, " candidates"],
        answer: int,
        margin: float | None,  # noqa: ARG002 - the protocol's
    ) -> Judgement:
        """See :class:`Verifier`; two candidates whose order ``nu`` could turn are ambiguous."""
        nearest = float(distances[answer])
        rivals = _others(distances <= nearest + 2 * self.nu, answer)
        return Judgement(Status.AMBIGUOUS if rivals.any() else Status.NEAREST, 0.0, rivals)


def _others(within: Bool[Tensor, " candidates"], answer: int) -> Bool[Tensor, " candidates"]:
    others = within.clone()
    others[answer] = False
    return others
