"""Judges whether a release hides its tokens and whether it keeps its utility (SPEC section 5).

A release hides enough only where EVERY attacker's upper bound is at most the rate allowed, because the
failure of one attacker proves nothing about another. A release that passes is "not broken by these
attackers"; a verdict claims no more than that.
"""

from pytest_injectivity.core.numbers import show
from pytest_injectivity.results.releases import ReleaseSummary
from pytest_injectivity.results.verdict import Status


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
    return figures


def is_useful(summary: ReleaseSummary, min_agreement: float) -> bool | None:
    """Whether a release keeps enough utility; None where the model cannot go on from it."""
    if summary.agreement is None:
        return None
    # Without a finite agreement the release counts as useless.
    return summary.divergence is not None and summary.agreement.value >= min_agreement
