"""What verdicts say of a release, and whether it keeps its utility (SPEC section 5)."""

from pytest_injectivity.core.numbers import show
from pytest_injectivity.results.releases import ReleaseSummary


def use_lines(summary: ReleaseSummary) -> list[str]:
    """Lines on the utility of a release."""
    if summary.agreement is None:
        return [f"utility was not measured: {summary.no_utility}"]
    divergence = "not a number" if summary.divergence is None else show(summary.divergence, 3)
    perplexity = ""
    if summary.perplexity_ratio is not None:
        perplexity = f", perplexity {show(summary.perplexity_ratio, 3)} times the unreleased pass's"
    lines = [
        f"next-token agreement {summary.agreement}, KL {divergence} nats a position{perplexity}"
    ]
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
    if summary.perplexity_ratio is not None:
        figures["perplexity ratio"] = summary.perplexity_ratio
    if summary.guessed is not None:
        figures["guessed"] = summary.guessed.value
    return figures


def is_useful(summary: ReleaseSummary, min_agreement: float) -> bool | None:
    """Whether a release keeps enough utility; None where the model cannot go on from it."""
    if summary.agreement is None:
        return None
    # Without a finite agreement the release counts as useless.
    return summary.divergence is not None and summary.agreement.value >= min_agreement
