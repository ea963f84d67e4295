"""Summaries of releases: how much attackers read from them, and their utility (SPEC section 5).

Reports show them and workers send them. They hold rates, counts and names only: no prompt and no token
id. Reading them needs no torch.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple

from pytest_injectivity.core.interval import Interval
from pytest_injectivity.results.attack_metrics import TextMatch

SCHEMA = 1
"""Raised when a field of the curve's data changes its meaning or goes."""

OVER_GUESSED = " over what is guessed"
"""Ends the words for a share of tokens that was read where what the model guesses is taken from it."""

FIXED_BALL = "fixed ball"
"""The name of the attacker whose rates are quoted: the published verifier at `FIXED_TOLERANCE`."""

FIXED_TOLERANCE = 1e-5
"""The tolerance of the published verifier, in the units of the states, at every layer."""


@dataclass(frozen=True)
class Rate:
    """A share of trials, with its interval; trials of tokens come in clusters, one a prompt.

    Attributes:
        right: trials that went right.
        of: all trials.
        low, high: the interval. Its upper end counts the undecided trials as right.
        undecided: trials that went wrong, and would perhaps have gone right if all candidates had been
            compared.
    """

    right: int
    of: int
    low: float
    high: float
    undecided: int = 0

    @property
    def value(self) -> float:
        """The share."""
        return self.right / self.of

    @property
    def at_most(self) -> float:
        """The share if all undecided trials had gone right."""
        return (self.right + self.undecided) / self.of

    def interval(self, confidence: float) -> Interval:
        """As verdicts show it."""
        return Interval(self.low, self.high, confidence)

    def __str__(self) -> str:
        undecided = f" and {self.undecided} undecided" if self.undecided else ""
        return (
            f"{self.right}{undecided} of {self.of}, {100 * self.value:.3g} %"
            f" [{100 * self.low:.3g}, {100 * self.high:.3g}]"
        )


@dataclass(frozen=True)
class Excess:
    """How much more of the tokens was read than the model guesses, on the same prompts.

    Attributes:
        value: the difference of both shares.
        low, high: the interval. Its upper end counts the undecided tokens as read.
        undecided: the share of tokens that were not read, and would perhaps have been if all
            candidates had been compared.
    """

    value: float
    low: float
    high: float
    undecided: float = 0.0

    @property
    def at_most(self) -> float:
        """The difference if all undecided tokens had been read."""
        return self.value + self.undecided

    def interval(self, confidence: float) -> Interval:
        """As verdicts show it."""
        return Interval(self.low, self.high, confidence)

    def __str__(self) -> str:
        return f"{100 * self.value:+.3g} [{100 * self.low:+.3g}, {100 * self.high:+.3g}] points"


@dataclass(frozen=True)
class RankSummary:
    """Where the true tokens stand in an attacker's order of all tokens.

    Attributes:
        first: by a number of guesses, the tokens that are among so many.
        guesses: how many guesses a token takes on average.
        median: the place of the token in the middle.
        at_least: whether both are too small: of some positions the true token was not compared, and
            counts as the next guess after all that were.
        bits: of a token, what the attacker has of it at least (SPEC section 5); below 0: nothing.
        bits_low, bits_high: the interval; None: without an end.
        entropy: bits of a token, as often as the prompts have it: the most that could be shown.
    """

    first: dict[str, Rate]
    guesses: float
    median: float
    at_least: bool
    bits: float
    bits_low: float | None
    bits_high: float | None
    entropy: float

    def __str__(self) -> str:
        among = ", ".join(
            f"{100 * rate.value:.3g} % in {most}" for most, rate in self.first.items()
        )
        low = "" if self.bits_low is None else f" [{self.bits_low:.2f}, {self.bits_high:.2f}]"
        return (
            f"{'at least ' * self.at_least}{self.guesses:.4g} guesses a token (median {self.median:g}),"
            f" {among}; at least {self.bits:.2f}{low} of {self.entropy:.2f} bits a token"
        )


@dataclass(frozen=True)
class AttackSummary:
    """What one attacker read of a release.

    Attributes:
        attacker: its name.
        source: where it was published, or that it is ours.
        teacher_forced: whether the attacker was given the true tokens before each position; else its
            own answers stood there (free-running).
        prompts: how many it was run on.
        tokens: read, of all that are not given.
        whole: prompts of which every token was read.
        excess: the share of tokens read less the share that the model guesses without any state, of
            the prompts it was run on; None where that was not measured.
        by_position: tokens read at each position.
        by_kind: tokens read, by the kind of token.
        by_span: of named spans (numbers, names, addresses), by kind, how many were read exactly of how
            many there are.
        verified: the share of tokens that its verifier accepts; a low share does not show privacy.
        seconds: the attacker's own computing time, without what all attackers share.
        compared: how many likely candidates it compared at a position, on average; None: the attack is
            exact, because it compared the whole vocabulary wherever it compares.
        left_out: how many true tokens were not among the candidates compared.
        texts: how near the text of the answers is; None where there is no tokenizer.
        ranks: where the true tokens stand in its order; None: it orders none, or runs free.
    """

    attacker: str
    source: str
    teacher_forced: bool
    prompts: int
    tokens: Rate
    whole: Rate
    excess: Excess | None = None
    by_position: dict[str, Rate] = field(default_factory=dict)
    by_kind: dict[str, Rate] = field(default_factory=dict)
    by_span: dict[str, tuple[int, int]] = field(default_factory=dict)
    verified: float = 0.0
    seconds: float = 0.0
    compared: float | None = None
    left_out: int = 0
    texts: TextMatch | None = None
    ranks: RankSummary | None = None

    @property
    def name(self) -> str:
        """The attacker and how it was run."""
        return f"{self.attacker}, {'teacher-forced' if self.teacher_forced else 'free-running'}"


@dataclass(frozen=True)
class ReleaseSummary:
    """One release at one place: the attack of every attacker, and its utility.

    Attributes:
        release: its steps, in the words of the grammar.
        place: what is observed: ``4``, ``4 kv``, ``norm last``.
        prompts, tokens: how many prompts of how many tokens.
        confidence: of the intervals.
        typical: the mean norm of what is observed over the square root of its width: what a strength
            written ``rel`` is in units of.
        noise: root mean square of what the release adds to a coordinate; 0 where it adds nothing.
        attacks: one an attacker.
        agreement: the share of positions at which the model that goes on from the release prefers the
            same next token; None where it cannot go on.
        divergence: ``KL(unreleased || released)`` at a position on average, in nats.
        perplexity_ratio: the perplexity of the prompts' own next tokens in the pass that goes on from
            the release over that of the unreleased pass; None where not measured.
        no_utility: why there is no utility; empty where there is.
        guessed: next tokens that the model guesses without any state; None where not measured.
        robustness: by name, in the rows' units: the smallest perturbation of a released row that makes
            another token the nearest (below zero: one is already), half the distance from a token to
            its nearest rival, and the share of positions where that alone decides; None where rows
            are not compared position by position.
        seconds: computing time, with an equal share of what releases measured together had in common.
    """

    release: str
    place: str
    prompts: int
    tokens: int
    confidence: float
    typical: float
    noise: float
    attacks: tuple[AttackSummary, ...]
    agreement: Rate | None = None
    divergence: float | None = None
    no_utility: str = ""
    guessed: Rate | None = None
    robustness: dict[str, float | None] | None = None
    seconds: float = 0.0
    perplexity_ratio: float | None = None

    @property
    def strongest(self) -> AttackSummary:
        """The attacker that read most; by the upper end of its interval where two read as much."""
        return max(self.attacks, key=lambda one: (one.tokens.value, one.tokens.high))

    @property
    def fixed_ball(self) -> AttackSummary | None:
        """The published verifier at a fixed tolerance; None where it was not run."""
        return next((one for one in self.attacks if one.attacker == FIXED_BALL), None)

    @property
    def name(self) -> str:
        """Release and place, as the grammar writes them."""
        return f"{self.release}@{self.place}"

    @property
    def key(self) -> "ReleaseKey":
        """The key of this summary; a run has one summary for each."""
        return ReleaseKey(self.release, self.place, self.prompts, self.tokens)


class ReleaseKey(NamedTuple):
    """A release at a place, on so many prompts of so many tokens."""

    release: str
    place: str
    prompts: int
    tokens: int


@dataclass(frozen=True)
class CurvePoint:
    """One strength of a release.

    Attributes:
        strength: as it was written.
        release: what was measured.
        hidden: every attacker's upper bound is at most the rate allowed.
        useful: the agreement is at least the one wanted; None where it was not measured.
    """

    strength: str
    release: ReleaseSummary
    hidden: bool
    useful: bool | None

    @property
    def both(self) -> bool:
        """Whether the release is both hidden and useful."""
        return self.hidden and bool(self.useful)


@dataclass(frozen=True)
class PrivacyCurve:
    """How much a release hides and how useful it stays, by strength.

    Attributes:
        release: the text of the sweep, with ``?`` where the strength stands.
        subject: what was audited.
        max_token_rate: the largest rate allowed for each attacker's upper bound.
        min_agreement: the least agreement wanted.
        confidence: of the bounds.
        points: in the order asked for.

    Example:
        >>> PrivacyCurve("gaussian(?)@4", "gpt2", 0.05, 0.9, confidence=0.95, points=()).both
        ()
    """

    derived: ClassVar = ("both", "line")

    release: str
    subject: str
    max_token_rate: float
    min_agreement: float
    confidence: float
    points: tuple[CurvePoint, ...]

    @property
    def both(self) -> tuple[str, ...]:
        """The strengths at which privacy and utility both hold; often there are none."""
        return tuple(point.strength for point in self.points if point.both)

    @property
    def line(self) -> str:
        """What the sweep found, in one sentence."""
        wanted = (
            f"at most {100 * self.max_token_rate:g} % of tokens read by these attackers and at least"
            f" {100 * self.min_agreement:g} % agreement"
        )
        if not self.both:
            return f"{self.release}: no strength of {len(self.points)} has both, {wanted}"
        return f"{self.release}: {', '.join(self.both)} have both, {wanted}"


def write_curves(path: str | Path, curves: Sequence[PrivacyCurve]) -> None:
    """Writes curves as JSON, whole or not at all.

    Args:
        path: of the file; its folder is made.
        curves: at least one.

    Raises:
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "curves.json"
        >>> curve = PrivacyCurve(
        ...     "gaussian(sigma=? rel)@4",
        ...     "my model",
        ...     max_token_rate=0.1,
        ...     min_agreement=0.9,
        ...     confidence=0.95,
        ...     points=(),  # of `Audit.sweep`
        ... )
        >>> write_curves(path, [curve])
        >>> json.loads(path.read_text())["curves"][0]["line"]
        'gaussian(sigma=? rel)@4: no strength of 0 has both, at most 10 % of tokens read by ...'
    """
    from pytest_injectivity.core.files import write_whole
    from pytest_injectivity.core.strict_json import plain

    data = {"schema": SCHEMA, "tool": "pytest-injectivity", "curves": plain(list(curves))}
    write_whole(path, json.dumps(data, indent=1, allow_nan=False) + "\n")
