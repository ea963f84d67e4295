"""Judges whether a release hides its tokens (SPEC section 5).

A release hides enough only where EVERY attacker's upper bound is at most the share allowed, because the
failure of one attacker proves nothing about another. A release that passes is "not broken by these
attackers"; a verdict claims no more than that.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pytest_injectivity.audit.judging.arguments import share_at_most
from pytest_injectivity.audit.judging.releases import release_figures, use_lines
from pytest_injectivity.core.numbers import show, show_up
from pytest_injectivity.core.text import number_of
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.releases import (
    OVER_GUESSED,
    AttackSummary,
    Excess,
    Rate,
    ReleaseSummary,
)
from pytest_injectivity.results.verdict import Reason, Status

if TYPE_CHECKING:
    from pytest_injectivity.privacy.evaluation.results import ReleaseResult

_CONFIDENCE = 0.95  # of the intervals shown where point values are judged


@dataclass(frozen=True)
class ReadBound:
    """The most that attackers may read of a release.

    Attributes:
        argument: how it was given: of all tokens, or over what the model guesses without any state.
        most: the largest share.
    """

    argument: Literal["max_token_rate", "max_excess"]
    most: float

    @classmethod
    def of(cls, max_token_rate: float | None, max_excess: float | None) -> "ReadBound":
        """The bound that was given.

        Raises:
            OptionError: neither was given, or both, or one is no share below 1.
        """
        if (max_token_rate is None) == (max_excess is None):
            given = "neither was" if max_token_rate is None else "both were"
            raise OptionError(
                f"{given} given of max_token_rate= and max_excess=, and the check is judged by one:"
                " give max_token_rate= (the largest share of tokens read), or max_excess= (the most"
                " over the share that the model guesses without any state)"
            )
        if max_excess is not None:
            return cls("max_excess", share_at_most("max_excess", max_excess))
        return cls("max_token_rate", share_at_most("max_token_rate", max_token_rate))

    @property
    def over(self) -> str:
        """What is added to the words for what was read."""
        return OVER_GUESSED if self.argument == "max_excess" else ""

    def judged(self, attack: AttackSummary) -> Rate | Excess:
        """What is judged of an attack.

        Raises:
            OptionError: what the model guesses was not measured.
        """
        if self.argument == "max_token_rate":
            return attack.tokens
        if attack.excess is None:
            raise OptionError(
                f"max_excess={self.most:g}: what the model guesses was not measured, because nothing"
                " goes on from what is observed or no prompt has a second token: give max_token_rate="
            )
        return attack.excess

    def strongest(self, summary: ReleaseSummary) -> AttackSummary:
        """The attacker of whom most is judged; by the upper end where it is as much of two."""
        return max(summary.attacks, key=lambda one: (self.judged(one).value, self.judged(one).high))


def is_hidden(summary: ReleaseSummary, max_token_rate: float) -> bool:
    """Whether every attacker's upper bound is at most the rate allowed."""
    bound = ReadBound("max_token_rate", max_token_rate)
    return hidden_status(summary, bound, summary.confidence) is Status.PASS


def hidden_status(summary: ReleaseSummary, bound: ReadBound, confidence: float | None) -> Status:
    """Judge whether every attacker reads at most what is allowed."""
    read = [bound.judged(one) for one in summary.attacks]
    if confidence is None:
        good = bool(read) and all(one.at_most <= bound.most for one in read)
        return Status.PASS if good else Status.FAIL
    if any(not one.low <= bound.most for one in read):
        return Status.FAIL
    good = bool(read) and all(one.high <= bound.most for one in read)
    return Status.PASS if good else Status.INSUFFICIENT


def judge_hidden(
    exposure: "ReleaseResult",
    bound: ReadBound,
    confidence: float | None,
    lines: Callable[[ReleaseSummary, ReadBound], Sequence[str]],
) -> Reason:
    """The reason that one release contributes to a verdict on what is read.

    Args:
        exposure: what the attackers read from the release.
        bound: the most that may be read.
        confidence: each attacker's two-sided interval is at this level; PASS is its upper end under
            the bound, FAIL its lower end above it for one attacker, else INSUFFICIENT. All must hold,
            so that no correction for their number is needed. None: point values are judged.
        lines: the evidence.
    """
    summary = exposure.summary(confidence or _CONFIDENCE)
    if not summary.attacks:
        return _not_attacked(summary, bound.most)
    strongest = bound.strongest(summary)
    status = hidden_status(summary, bound, confidence)
    read = [bound.judged(one) for one in summary.attacks]
    worst = max(0.0, *(one.high if confidence else one.at_most for one in read))
    judged = bound.judged(strongest)
    return Reason(
        where=summary.name,
        unit="release",
        status=status,
        quantity=f"tokens read by {strongest.name}{bound.over}",
        value=judged.value,
        bound=bound.most,
        relation="<=",
        headline=_headline(summary, status, worst, bound),
        evidence=tuple(lines(summary, bound)),
        interval=judged.interval(summary.confidence),
        would_pass=f"{bound.argument} of at least {show_up(worst)}",
        figures=release_figures(summary),
        seconds=summary.seconds,
    )


def _not_attacked(summary: ReleaseSummary, allowed: float) -> Reason:
    """The failing reason of a release that no attacker was made for."""
    return Reason(
        where=summary.name,
        unit="release",
        status=Status.FAIL,
        quantity="tokens read",
        value=math.nan,
        bound=allowed,
        relation="<=",
        headline="no attacker here is made for it: nothing was compared",
        evidence=tuple(use_lines(summary)),
    )


def _headline(summary: ReleaseSummary, status: Status, worst: float, bound: ReadBound) -> str:
    """The first line's words where the number alone would mislead; empty where it does not."""
    if status is Status.PASS:
        return f"not broken by these {number_of(len(summary.attacks), 'attacker')}"
    if status is Status.INSUFFICIENT:
        read = "over the guess" if bound.over else "read"
        return f"proves <= {show(worst)} {read}, wants <= {show(bound.most)}"
    return ""
