"""Judges whether a release hides its tokens and whether it keeps its utility (SPEC section 5).

A release hides enough only where EVERY attacker's upper bound is at most the rate allowed, because the
failure of one attacker proves nothing about another. A release that passes is "not broken by these
attackers"; a verdict claims no more than that.
"""

from dataclasses import dataclass
from typing import Literal

from pytest_injectivity.audit.judging.arguments import share_at_most
from pytest_injectivity.core.numbers import show
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.releases import (
    OVER_GUESSED,
    AttackSummary,
    Excess,
    Rate,
    ReleaseSummary,
)
from pytest_injectivity.results.verdict import Status


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


def use_lines(summary: ReleaseSummary) -> list[str]:
    """Lines on the utility of a release."""
    if summary.agreement is None:
        return [f"utility was not measured: {summary.no_utility}"]
    divergence = "not a number" if summary.divergence is None else show(summary.divergence, 3)
    lines = [f"next-token agreement {summary.agreement}, KL {divergence} nats a position"]
    if summary.guessed is not None:
        lines.append(
            "the model guesses a next token from those before it, without any state:"
            f" {summary.guessed}"
        )
    return lines


def release_figures(summary: ReleaseSummary) -> dict[str, float]:
    """The numbers of a release for machines."""
    figures = {f"tokens read by {one.name}": one.tokens.value for one in summary.attacks}
    if summary.agreement is not None:
        figures["agreement"] = summary.agreement.value
    if summary.divergence is not None:
        figures["divergence"] = summary.divergence
    if summary.guessed is not None:
        figures["guessed"] = summary.guessed.value
    return figures


def is_useful(summary: ReleaseSummary, min_agreement: float) -> bool | None:
    """Whether a release keeps enough utility; None where the model cannot go on from it."""
    if summary.agreement is None:
        return None
    # Without a finite agreement the release counts as useless.
    return summary.divergence is not None and summary.agreement.value >= min_agreement
