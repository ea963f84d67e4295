"""A prompt while it is inverted: tokens settled so far, guesses for the rest, candidates tested."""

from dataclasses import dataclass, field

from torch import Tensor

from pytest_injectivity.core.shapes import Float, Int
from pytest_injectivity.inversion.recovery import Outcome, Status
from pytest_injectivity.inversion.search import Tested
from pytest_injectivity.states.scaled import Scale


@dataclass(eq=False)
class PartialPrompt:
    """A prompt of which the first tokens are known, and what is known of the others.

    Attributes:
        states: to invert, at every position, known tokens included.
        ids: the tokens settled so far, known ones included.
        outcomes: of the positions settled so far.
        guesses: the most likely token of each position.
        queries: what the lens ranks for each position.
        window: how many guesses the next pass holds.
        tested: at the position to settle next.
        expected: the tokens that the model expects there; None: it was not asked.
        later: the scale of distances at positions from 1 on; None: they are Euclidean.
        ended: a position has no token to go on from.
    """

    states: Float[Tensor, "length hidden"]
    ids: list[int]
    guesses: Int[Tensor, " length"]
    queries: Float[Tensor, "length hidden"]
    finite: list[bool]
    window: int
    tested: Tested
    later: Scale | None = None
    expected: Int[Tensor, " tokens"] | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    ended: bool = False

    @property
    def at(self) -> int:
        """The position to settle next."""
        return len(self.ids)

    @property
    def done(self) -> bool:
        """Whether there is none."""
        return self.ended or self.at == len(self.states)

    def settle(self, outcome: Outcome) -> None:
        """Goes on after the position's outcome, or ends where it has no token."""
        self.outcomes.append(outcome)
        if outcome.token is None:
            later = range(outcome.position + 1, len(self.states))
            self.outcomes += [Outcome(position, Status.NOT_REACHED) for position in later]
            self.ended = True
        else:
            self.ids.append(outcome.token)
            if not self.done:
                self.expected = None
                self.tested = Tested(self.states[self.at], self.later)
