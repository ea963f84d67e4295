"""What an inversion found, and what it cost.

An outcome belongs to a position, a recovery to a prompt, an inversion to the prompts of a layer.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from pytest_injectivity.core.layers import Layer

MOST_RIVALS = 8
"""Rivals of an answer that are listed."""


class Status(StrEnum):
    """How sure the answer at a position is, given the tokens before it."""

    CERTIFIED = "certified"
    """Verified, and one pass over the whole vocabulary shows no rival."""
    ACCEPTED = "accepted, uncertified"
    """Verified; whether another candidate would be as well was not looked at."""
    AMBIGUOUS = "ambiguous"
    """More than one candidate verifies: a collision of the one-step map at this precision."""
    NEAREST = "nearest, unverified"
    """No candidate verifies; the token is the nearest one."""
    NOT_FINITE = "not finite"
    """The state, or every candidate's, has a NaN or an infinity."""
    NOT_REACHED = "not reached"
    """An earlier position has no token to go on from."""


@dataclass(frozen=True)
class Outcome:
    """The answer at one position.

    Attributes:
        position: index into the prompt.
        status: how sure the answer is, given the tokens before it.
        token: the answer, the nearest candidate tested; ``None`` where there is none.
        residual: its Euclidean distance from the state (NaN without an answer).
        eps: the tolerance the answer was judged at; above the one given where backoff widened it.
        away: the distance that was held against ``eps``: the residual, or the scaled distance.
        margin: ``delta``, the Euclidean distance from the answer's state to its nearest rival's, where
            the whole vocabulary was tested.
        rivals: tokens that cannot be told from the answer, nearest first, at most eight.
        near: how many rivals, listed or not, lie within ``eps`` of the state themselves.
        told_apart: how many rivals were evaluated and told from the answer, and are no longer listed.
        by_evaluation: whether it verifies only because its state was evaluated in several ways, which
            differ by more than the tolerance.
        twins: the tokens that have the answer's embedding row, which no layer can tell from it; they
            are rivals too, the first of them.
        tried: candidates tested to find the answer; a pass over the whole vocabulary that was made
            to certify it, or was shared with other prompts, is not counted.
        rank: the answer's place in the policy's order, from 0, where the search found it there.
    """

    position: int
    status: Status
    token: int | None = None
    residual: float = float("nan")
    eps: float = float("nan")
    away: float = float("nan")
    margin: float | None = None
    rivals: tuple[int, ...] = ()
    tried: int = 0
    rank: int | None = None
    twins: tuple[int, ...] = ()
    near: int = 0
    told_apart: int = 0
    by_evaluation: bool = False

    @property
    def verified(self) -> bool:
        """Whether exactly one candidate was found to verify."""
        return self.status in {Status.CERTIFIED, Status.ACCEPTED}

    def beside(self, twins: tuple[int, ...]) -> "Outcome":
        """The same answer where other tokens have its embedding row: ambiguous, if it verifies."""
        if not twins or not (self.verified or self.status is Status.AMBIGUOUS):
            return self
        rivals = (*twins, *self.rivals)[:MOST_RIVALS]
        return replace(self, status=Status.AMBIGUOUS, rivals=rivals, twins=twins)


@dataclass(frozen=True)
class Recovery:
    """One prompt, as far as its states gave it back.

    Attributes:
        known: tokens that were given, not searched.
        outcomes: one for each position after them.
        seconds: time spent on this prompt, the shared first-position table apart.
    """

    known: tuple[int, ...]
    outcomes: tuple[Outcome, ...]
    seconds: float

    @property
    def ids(self) -> tuple[int | None, ...]:
        """The prompt, known tokens included; ``None`` where there is no answer."""
        return (*self.known, *(outcome.token for outcome in self.outcomes))

    @property
    def verified(self) -> bool:
        """Whether every position is verified. A wrong model does not get here."""
        return all(outcome.verified for outcome in self.outcomes)

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """The positions that are not verified, with their reasons."""
        return tuple(outcome for outcome in self.outcomes if not outcome.verified)

    def beside(self, twins_of: Callable[[int], tuple[int, ...]]) -> "Recovery":
        """The recovery with answers called ambiguous whose embedding row other tokens have.

        Args:
            twins_of: gives the other tokens with a token's embedding row.
        """
        outcomes = (
            one if one.token is None else one.beside(twins_of(one.token)) for one in self.outcomes
        )
        return replace(self, outcomes=tuple(outcomes))

    def exact(self, truth: Sequence[int]) -> bool:
        """Whether the prompt is the truth and every position verified: what counts as recovered.

        The right token by luck, or one of two that verify, is not a recovery.
        """
        return self.verified and self.ids == tuple(truth)

    def first_error(self, truth: Sequence[int]) -> int | None:
        """The first position whose token is not the truth's; ``None`` where all are."""
        ids = self.ids
        wrong = [
            t for t in range(max(len(ids), len(truth))) if ids[t : t + 1] != (*truth[t : t + 1],)
        ]
        return wrong[0] if wrong else None


@dataclass(frozen=True)
class Inversion:
    """Many prompts inverted at one layer.

    Attributes:
        layer: the layer inverted.
        policy: the policy that ordered the candidates, by name.
        recoveries: one for each prompt, in the order given.
        sample: the ``(prompt, position)`` certified, in the random order in which they were drawn.
        seconds: time in all, calibration and the first-position table included.
        forwards: tokens run through the model to test candidates and to cache prefixes; not counted
            are padding, what all prompts share (a calibration, the table of the first position) and
            a policy's own passes.
        shared: tokens run for what all prompts share: the calibration, the first position's table.
        certificates: tokens run besides to certify the sample.
    """

    layer: Layer
    policy: str
    recoveries: tuple[Recovery, ...]
    sample: tuple[tuple[int, int], ...]
    seconds: float
    forwards: int = 0
    shared: int = 0
    certificates: int = 0

    @property
    def sampled(self) -> tuple[Outcome, ...]:
        """The outcomes at the sampled positions: their rates estimate those of all positions."""
        return tuple(
            self.recoveries[prompt].outcomes[position - len(self.recoveries[prompt].known)]
            for prompt, position in self.sample
        )

    @property
    def ambiguous(self) -> int:
        """How many sampled positions are ambiguous, out of ``len(sample)``."""
        return sum(outcome.status is Status.AMBIGUOUS for outcome in self.sampled)

    @property
    def statuses(self) -> Counter[Status]:
        """How many positions ended in each status, over all prompts."""
        return Counter(o.status for recovery in self.recoveries for o in recovery.outcomes)

    @property
    def forwards_per_token(self) -> float:
        """Tokens run for each position searched; 1 is the least, since each must be verified."""
        searched = sum(len(recovery.outcomes) for recovery in self.recoveries)
        return self.forwards / searched

    @property
    def told_apart(self) -> int:
        """How many rivals of answers were told from them by evaluation."""
        return sum(o.told_apart for recovery in self.recoveries for o in recovery.outcomes)

    @property
    def by_evaluation(self) -> int:
        """How many answers verify only by evaluation in several ways."""
        return sum(o.by_evaluation for recovery in self.recoveries for o in recovery.outcomes)

    @property
    def ranks(self) -> tuple[int, ...]:
        """The answers' places in the policy's order, from 0, where a search found them there."""
        every = (o for recovery in self.recoveries for o in recovery.outcomes)
        return tuple(o.rank for o in every if o.rank is not None and o.tried)

    @property
    def candidates_per_token(self) -> float:
        """Candidates tested to find a token, on average over the positions searched."""
        tried = [o.tried for recovery in self.recoveries for o in recovery.outcomes if o.tried]
        return sum(tried) / len(tried) if tried else 0.0


@dataclass
class Work:
    """Tokens run through the model so far, each to compute a state at the layer inverted.

    Attributes:
        forwards: to test candidates and to cache prefixes.
        certificates: to hold answers against the whole vocabulary.
    """

    forwards: int = 0
    certificates: int = 0
