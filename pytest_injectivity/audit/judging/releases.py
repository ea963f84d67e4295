"""Whether what is shared can be read, and whether it is still of use (SPEC section 5).

A release hides enough only where EVERY attacker's upper bound is at most the rate allowed: one that
fails proves nothing about the next. What nothing read is "not broken by these attackers", and no more.
"""

from typing import TYPE_CHECKING

from pytest_injectivity.core.numbers import show
from pytest_injectivity.results.releases import ReleaseSummary
from pytest_injectivity.results.verdict import Status

if TYPE_CHECKING:
    pass

_CONFIDENCE = 0.95


def is_hidden(summary: ReleaseSummary, max_token_rate: float) -> bool:
    """Whether every attacker's upper bound is at most the rate allowed."""
    return hidden_status(summary, max_token_rate, summary.confidence) is Status.PASS


def hidden_status(
    summary: ReleaseSummary, max_token_rate: float, confidence: float | None
) -> Status:
    """Judge whether every attacker reads at most a share of the tokens."""
    rates = [one.tokens for one in summary.attacks]
    if confidence is None:
        good = bool(rates) and all(rate.value <= max_token_rate for rate in rates)
        return Status.PASS if good else Status.FAIL
    if any(not rate.low <= max_token_rate for rate in rates):
        return Status.FAIL
    good = bool(rates) and all(rate.high <= max_token_rate for rate in rates)
    return Status.PASS if good else Status.INSUFFICIENT


def use_lines(summary: ReleaseSummary) -> list[str]:
    """Lines on how much use is left of a release."""
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
    return figures


def is_useful(summary: ReleaseSummary, min_agreement: float) -> bool | None:
    """Whether what is left of a release is of use; None where nothing goes on from it."""
    if summary.agreement is None:
        return None
    # Without finite numbers nothing was agreed on.
    return summary.divergence is not None and summary.agreement.value >= min_agreement
