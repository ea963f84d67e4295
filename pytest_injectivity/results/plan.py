"""What an audit is going to do, and what that is predicted to take: plain data that reports show."""

from dataclasses import dataclass

from pytest_injectivity.core.durations import duration

LIMIT = 30.0
"""Seconds beyond which a phase is foretold before it begins."""


@dataclass(frozen=True)
class Phase:
    """A piece of work of an audit, with what it is predicted to take.

    Attributes:
        name: the kind of work, such as ``hidden states``; phases of one name are foretold once.
        what: the work in words, with its numbers.
        seconds: predicted; of work whose amount only a run finds out, what is typical.
        token_forwards: tokens that go through the model, padding included.
        bytes: what the work keeps, on disk or in memory.
        shorter_by: the flag or argument that makes it shorter; empty where there is none.
        between: the least and the most seconds, of work whose amount only a run finds out.
    """

    name: str
    what: str
    seconds: float
    token_forwards: int = 0
    bytes: int = 0
    shorter_by: str = ""
    between: tuple[float, float] | None = None

    @property
    def span(self) -> tuple[float, float]:
        """The least and the most seconds; twice the same where the amount of work is known."""
        return self.between or (self.seconds, self.seconds)

    @property
    def is_long(self) -> bool:
        """Whether it is foretold."""
        return self.seconds > LIMIT

    @property
    def sentence(self) -> str:
        """The sentence that foretells it: what it is, how long it takes, what makes it shorter."""
        shorter = f"; shorter by {self.shorter_by}" if self.shorter_by else ""
        return f"injectivity: {self.name}: {self.what}: {self._time}{shorter}"

    @property
    def _time(self) -> str:
        most = f", at most {duration(self.between[1])}" if self.between else ""
        return f"about {duration(self.seconds)}{most}"


@dataclass(frozen=True)
class Plan:
    """The phases of an audit in the order in which they run.

    Attributes:
        phases: each piece of work once.
        model: the model and its size, in words.
        prompts: the prompts, in words.
        memory: what is held in memory and in the store, in words.
        rates: what the seconds were computed from, in words.
        unforeseen: sentences on what is not among the phases.
        sharing: who shares the work, in words; empty where nobody does.
    """

    phases: tuple[Phase, ...]
    model: str
    prompts: str
    memory: str
    rates: str
    unforeseen: tuple[str, ...] = ()
    sharing: str = ""

    @property
    def seconds(self) -> float:
        """Of all phases."""
        return sum(one.seconds for one in self.phases)

    @property
    def span(self) -> tuple[float, float]:
        """The least and the most seconds of all phases."""
        spans = [one.span for one in self.phases]
        return sum(least for least, _ in spans), sum(most for _, most in spans)

    @property
    def token_forwards(self) -> int:
        """Of all phases."""
        return sum(one.token_forwards for one in self.phases)
