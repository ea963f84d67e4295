"""Whether what is shared can be read, and whether it is still of use (SPEC section 5).

A release hides enough only where EVERY attacker's upper bound is at most the rate allowed: one that
fails proves nothing about the next. What nothing read is "not broken by these attackers", and no more.
"""

import math
from typing import TYPE_CHECKING

from pytest_injectivity.core.numbers import show
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.releases import AttackSummary, ReleaseSummary
from pytest_injectivity.results.verdict import Reason, Status, judge

if TYPE_CHECKING:
    from pytest_injectivity.privacy.evaluation.results import ReleaseResult

_GROUPS = 4
_CONFIDENCE = 0.95


def judge_hidden(
    exposure: "ReleaseResult", max_token_rate: float, confidence: float | None
) -> Reason:
    """The reason one release contributes to ``not_recoverable``.

    Args:
        exposure: what was read of it.
        max_token_rate: the largest share of tokens that may be read.
        confidence: each attacker's two-sided interval is at this level; PASS is its upper end under
            the rate, FAIL its lower end above it for one attacker, else INSUFFICIENT. All must hold,
            so that no correction for their number is needed. None: point values are judged.
    """
    summary = exposure.summary(confidence or _CONFIDENCE)
    if not summary.attacks:
        return _not_attacked(summary, max_token_rate)
    strongest = summary.strongest
    status = _hidden(summary, max_token_rate, confidence)
    worst = max(one.tokens.high if confidence else one.tokens.value for one in summary.attacks)
    return Reason(
        where=summary.name,
        unit="release",
        status=status,
        quantity=f"tokens read by {strongest.name}",
        value=strongest.tokens.value,
        bound=max_token_rate,
        relation="<=",
        headline=_headline(summary, status, worst, max_token_rate),
        evidence=(*_attack_lines(summary), *_use_lines(summary), *_how_lines(summary)),
        interval=strongest.tokens.interval(summary.confidence),
        would_pass=f"max_token_rate of at least {worst!r}",
        figures=_figures(summary),
        seconds=summary.seconds,
    )


def is_hidden(summary: ReleaseSummary, max_token_rate: float) -> bool:
    """Whether every attacker's upper bound is at most the rate allowed."""
    return _hidden(summary, max_token_rate, summary.confidence) is Status.PASS


def judge_use(exposure: "ReleaseResult", min_agreement: float, confidence: float | None) -> Reason:
    """The reason one release contributes to ``utility_kept``.

    Args:
        exposure: with its utility.
        min_agreement: the least share of positions at which the same next token is preferred.
        confidence: of the interval, whose end is judged; None: the point value is.

    Raises:
        OptionError: nothing goes on from what is observed.
    """
    summary, utility = exposure.summary(confidence or _CONFIDENCE), exposure.utility
    agreement = summary.agreement
    if utility is None or agreement is None:
        raise OptionError(
            f"{summary.name} has no utility to judge: {summary.no_utility}; give a place at all"
            " positions"
        )
    status = judge(agreement.value, ">=", min_agreement)
    if confidence is not None:
        kept, lost = agreement.low >= min_agreement, agreement.high < min_agreement
        status = Status.PASS if kept else Status.FAIL if lost else Status.INSUFFICIENT
    sound = math.isfinite(utility.mean_divergence)
    return Reason(
        where=summary.name,
        unit="release",
        status=status if sound else Status.FAIL,
        quantity="next-token agreement",
        value=agreement.value,
        bound=min_agreement,
        relation=">=",
        headline="" if sound else "the pass that goes on gives no numbers",
        evidence=(*_use_lines(summary), *_read(summary)),
        interval=agreement.interval(summary.confidence),
        would_pass=f"min_agreement of at most {agreement.value!r}",
        figures=_figures(summary),
        seconds=summary.seconds,
    )


def _hidden(summary: ReleaseSummary, max_token_rate: float, confidence: float | None) -> Status:
    rates = [one.tokens for one in summary.attacks]
    if confidence is None:
        good = bool(rates) and all(rate.value <= max_token_rate for rate in rates)
        return Status.PASS if good else Status.FAIL
    if any(not rate.low <= max_token_rate for rate in rates):
        return Status.FAIL
    good = bool(rates) and all(rate.high <= max_token_rate for rate in rates)
    return Status.PASS if good else Status.INSUFFICIENT


def _not_attacked(summary: ReleaseSummary, allowed: float) -> Reason:
    """Nothing was compared, which is no pass."""
    return Reason(
        where=summary.name,
        unit="release",
        status=Status.FAIL,
        quantity="tokens read",
        value=math.nan,
        bound=allowed,
        relation="<=",
        headline="no attacker here is made for it: nothing was compared",
        evidence=tuple(_use_lines(summary)),
    )


def _headline(summary: ReleaseSummary, status: Status, worst: float, allowed: float) -> str:
    """Words for what numbers alone would misstate; empty where they say all."""
    if status is Status.PASS:
        return f"not broken by these {len(summary.attacks)} attackers"
    if status is Status.INSUFFICIENT:
        return f"proves <= {show(worst)} read, wants <= {show(allowed)}"
    return ""


def _attack_lines(summary: ReleaseSummary) -> list[str]:
    ranked = sorted(summary.attacks, key=lambda one: -one.tokens.value)
    strongest = summary.strongest
    return [
        *(_attack_line(one) for one in ranked),
        f"by position, read by {strongest.name}: {_by_position(strongest)}",
        f"by kind of token: {_by_kind(strongest)}",
    ]


def _attack_line(attack: AttackSummary) -> str:
    spans = ", ".join(f"{kind} {read} of {of}" for kind, (read, of) in attack.by_span.items())
    return (
        f"{attack.name} ({attack.source}): tokens {attack.tokens}; prompts"
        f" {attack.whole}; vouched for {_percent(attack.verified)}"
        f"{f'; whole spans: {spans}' if spans else ''}"
    )


def _by_position(attack: AttackSummary) -> str:
    """Shares of a few groups of positions as long as each other."""
    positions = sorted(attack.by_position, key=int)
    size = -(-len(positions) // _GROUPS) if positions else 1
    groups = [positions[start : start + size] for start in range(0, len(positions), size)]
    shown = []
    for group in groups:
        rates = [attack.by_position[one] for one in group]
        share = sum(rate.right for rate in rates) / sum(rate.of for rate in rates)
        name = group[0] if len(group) == 1 else f"{group[0]} to {group[-1]}"
        shown.append(f"{name}: {_percent(share)}")
    return ", ".join(shown)


def _by_kind(attack: AttackSummary) -> str:
    return "; ".join(f"{kind} {rate}" for kind, rate in attack.by_kind.items())


def _use_lines(summary: ReleaseSummary) -> list[str]:
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


def _how_lines(summary: ReleaseSummary) -> list[str]:
    noise = f", noise {show(summary.noise, 3)} a coordinate" if summary.noise else ""
    size = (
        f"{summary.prompts} prompts of {summary.tokens} tokens, clustered by prompt; a typical"
        f" coordinate is {show(summary.typical, 3)}{noise}"
    )
    return [*_robust_lines(summary), size]


def _robust_lines(summary: ReleaseSummary) -> list[str]:
    known = {name: value for name, value in (summary.robustness or {}).items() if value is not None}
    shown = ", ".join(f"{name} {show(value, 3)}" for name, value in known.items())
    return [f"perturbation that changes the nearest token: {shown}"] if shown else []


def _read(summary: ReleaseSummary) -> list[str]:
    if not summary.attacks:
        return []
    strongest = summary.strongest
    return [f"read by the strongest attacker, {strongest.name}: tokens {strongest.tokens}"]


def _figures(summary: ReleaseSummary) -> dict[str, float]:
    figures = {f"tokens read by {one.name}": one.tokens.value for one in summary.attacks}
    if summary.agreement is not None:
        figures["agreement"] = summary.agreement.value
    if summary.divergence is not None:
        figures["divergence"] = summary.divergence
    return figures


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
