"""Judges whether a release is still of use to its receiver (SPEC section 5)."""

import math
from typing import TYPE_CHECKING, Unpack

from pytest_injectivity.audit.judging.arguments import REQUIRED, optional_confidence, share_at_least
from pytest_injectivity.audit.judging.base import Audited
from pytest_injectivity.audit.judging.releases import release_figures, use_lines
from pytest_injectivity.audit.releases.release_size import SizeOptions
from pytest_injectivity.audit.releases.releases import ReleasesLike
from pytest_injectivity.core.numbers import show_down
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.releases import ReleaseSummary
from pytest_injectivity.results.verdict import Reason, Status, Verdict, judge

if TYPE_CHECKING:
    from pytest_injectivity.privacy.evaluation.results import ReleaseResult

_CONFIDENCE = 0.95


def check_utility_kept(
    audit: "Audited",
    release: ReleasesLike,
    min_agreement: float = REQUIRED,
    *,
    confidence: float | None = None,
    **size: Unpack[SizeOptions],
) -> Verdict:
    """The model that goes on from a release prefers the same next tokens as without it.

    Args:
        audit: the audit whose model is judged.
        release: see `check_not_recoverable`.
        min_agreement: the least share of positions at which the next tokens agree.
        confidence: judge what the sample proves.
        size: of the measurement, as `exposures` takes it (`SizeOptions`).

    Raises:
        OptionError: a number or a release is not accepted, nothing goes on from what is observed,
            or too few prompts are long enough.
        LayerError: the model has no such layer.
        ModelError: the model caches no keys and values.

    Example:
        >>> audit.check_utility_kept("round(bits=8)@4", 0.9, prompts=2, tokens=4, practice=0).passed
        True
    """
    least = share_at_least("min_agreement", min_agreement)
    confidence = optional_confidence(confidence)
    found = audit.releases.with_the_configs(release, size)
    reasons = [judge_use(one, least, confidence) for one in found]
    return audit.verdict("utility_kept", reasons)


def judge_use(exposure: "ReleaseResult", min_agreement: float, confidence: float | None) -> Reason:
    """The reason one release contributes to ``utility_kept``.

    Args:
        exposure: what was measured of the release, its utility included.
        min_agreement: the least share of positions at which the same next token is preferred.
        confidence: the level of the interval whose end is judged; None: the point value.

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
        evidence=(*use_lines(summary), *_read(summary)),
        interval=agreement.interval(summary.confidence),
        would_pass=f"min_agreement of at most {show_down(agreement.value)}",
        figures=release_figures(summary),
        seconds=summary.seconds,
    )


def _read(summary: ReleaseSummary) -> list[str]:
    if not summary.attacks:
        return []
    strongest = summary.strongest
    return [f"read by the strongest attacker, {strongest.name}: tokens {strongest.tokens}"]
