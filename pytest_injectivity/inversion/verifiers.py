"""Verifiers decide which candidate is the answer and how sure that is (SPEC section 4).

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

Tolerances are numbers by position: they come from the resolution at the positions inverted (SPEC
section 2), where position 0 has a number of its own, because the norms of attention sinks, and so
their errors, are far above the rest. A sink elsewhere has a tolerance in proportion to its length, which
counts only once the whole vocabulary was compared: before, it would accept what it does not know to be
unique. Where a scale is given, ``eps``, ``nu`` and ``delta`` are all
scaled distances, in which outlier coordinates count no more than their resolution lets them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, get_args, runtime_checkable

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Bool, Float, Float64
from pytest_injectivity.errors import OptionError
from pytest_injectivity.inversion.recovery import Status
from pytest_injectivity.states.scaled import Scale, Scales
from pytest_injectivity.states.tolerance_by_norm import ToleranceByNorm

Tolerance: TypeAlias = float | Sequence[float] | ToleranceByNorm
"""One number, or one for each of the positions 0, 1, …, the last for all after it; or numbers that
follow the length of a state."""

VerifierName: TypeAlias = Literal["ball", "argmin"]


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

    @property
    def scale(self) -> Scale | None:
        """The resolution of each coordinate, by which distances are scaled; None: Euclidean."""
        ...

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
        eps: the largest observation error, in the states' units, or scaled.
        nu: how far two evaluations of one candidate may lie apart, likewise.
        backoff: the largest factor by which ``eps`` may be widened; 1 widens nothing.
        scale: see :class:`Verifier`.
        compared: ``eps`` and ``nu`` once the whole vocabulary was compared, where they are larger:
            those of an attention sink. None: the same.
    """

    eps: float
    nu: float
    backoff: float = 1.0
    scale: Scale | None = None
    compared: tuple[float, float] | None = None

    def settles(self, distances: Float64[Tensor, " candidates"]) -> bool:
        """A candidate within ``eps`` ends the search."""
        return bool((distances <= self.eps).any())

    def judge(
        self, distances: Float64[Tensor, " candidates"], answer: int, margin: float | None
    ) -> Judgement:
        """See :class:`Verifier`."""
        nearest = float(distances[answer])
        eps, nu = self.eps, self.nu
        if self.compared is not None and margin is not None:
            eps, nu = self.compared
        if nearest <= eps:
            rivals = _others(distances <= eps + 2 * nu, answer)
            sure = Status.ACCEPTED if margin is None else Status.CERTIFIED
            return Judgement(Status.AMBIGUOUS if rivals.any() else sure, eps, rivals)
        unique = margin is not None and nearest + nu < margin / 2
        none = distances < 0
        if unique and nearest <= self.backoff * eps:
            return Judgement(Status.ACCEPTED, nearest, none)
        return Judgement(Status.NEAREST, eps, none)


@dataclass(frozen=True)
class Argmin:
    """Takes the nearest candidate of the whole vocabulary.

    Attributes:
        nu: how far two evaluations of one candidate may lie apart.
        scale: see :class:`Verifier`.
    """

    nu: float
    scale: Scale | None = None

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


@dataclass(frozen=True)
class Tolerances:
    """What the verifier of each position is made of.

    Attributes:
        name: ``"ball"`` or ``"argmin"``.
        eps: the largest observation error at positions 0, 1, …, in the states' units, or scaled.
        nu: how far two evaluations of one candidate may lie apart, likewise.
        backoff: the largest factor by which ``eps`` may be widened where nothing verifies.
        scales: the resolution of each coordinate, where distances are scaled by it.
    """

    name: VerifierName
    eps: ToleranceByNorm
    nu: ToleranceByNorm
    backoff: float
    scales: Scales | None = None

    @classmethod
    def of(
        cls,
        name: VerifierName,
        eps: Tolerance,
        nu: Tolerance | None,
        backoff: float,
        scales: Scales | None = None,
    ) -> "Tolerances":
        """Checks the name and the numbers; ``nu`` is ``eps`` where it is not given.

        Raises:
            OptionError: the name is neither, a tolerance is negative, infinite, NaN or empty, or
                backoff is below 1.
        """
        if name not in get_args(VerifierName):
            raise OptionError(f"verifier {name!r} is not known: give ball or argmin")
        if not 1.0 <= backoff < math.inf:
            raise OptionError(
                f"backoff={backoff!r} is not a factor to widen eps by: give a finite number that is"
                " at least 1 (1 widens nothing)"
            )
        radii = _checked("eps", eps)
        return cls(name, radii, radii if nu is None else _checked("nu", nu), backoff, scales)

    def verifier(self, position: int, state: Float[Tensor, " hidden"]) -> Verifier:
        """The verifier of the state at one position."""
        ball = self.ball(position, state)
        if self.name == "ball":
            return ball
        # It compares the whole vocabulary, whatever the state is.
        return Argmin(ball.nu if ball.compared is None else ball.compared[1], ball.scale)

    def ball(self, position: int, state: Float[Tensor, " hidden"] | None = None) -> Ball:
        """The ball of the state at one position, whatever the verifier's name.

        Args:
            position: of the state in its prompt.
            state: to invert. None: of one that is no attention sink.
        """
        scale = None if self.scales is None else self.scales.at(position)
        eps, nu = self.eps.at(position, 0.0), self.nu.at(position, 0.0)
        if state is None:
            return Ball(eps, nu, self.backoff, scale)
        # Apple's GPUs have no float64.
        norm = float(torch.linalg.vector_norm(state.cpu().double()))
        compared = self.eps.at(position, norm), self.nu.at(position, norm)
        return Ball(eps, nu, self.backoff, scale, None if compared == (eps, nu) else compared)


def _checked(name: str, value: Tolerance) -> ToleranceByNorm:
    if isinstance(value, ToleranceByNorm):
        return value
    values = tuple(value) if isinstance(value, Sequence) else (value,)
    if not values or not all(0.0 <= one < math.inf for one in values):
        raise OptionError(
            f"{name}={value!r} is not a tolerance: give a finite number that is at least 0, or one"
            " for each of the first positions, the last serving all after it"
        )
    return ToleranceByNorm(values, (math.inf,))
