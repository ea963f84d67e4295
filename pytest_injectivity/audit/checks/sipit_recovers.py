"""Judges whether SipIt recovers prompts from the states of one layer (SPEC section 4)."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pytest_injectivity.audit.judging.arguments import (
    count,
    optional_confidence,
    optional_count,
    share_at_least,
)
from pytest_injectivity.audit.judging.base import Audited, by_layer
from pytest_injectivity.audit.judging.certificates import certified_lines
from pytest_injectivity.audit.judging.common import not_finite, settled
from pytest_injectivity.audit.judging.vocabulary import (
    token_words,
    vocabulary_lines,
)
from pytest_injectivity.audit.measurements.recovered import Recovered
from pytest_injectivity.audit.measurements.recovery import Attempt, recovered
from pytest_injectivity.core.layers import Layer, LayerSpec, layer_id
from pytest_injectivity.core.numbers import show, show_down
from pytest_injectivity.core.text import number_of, verb
from pytest_injectivity.results.verdict import Reason, Verdict, judge
from pytest_injectivity.stats import clopper_pearson, clustered_rate, rate_p_values

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.measurements import Measurements

_QUANTITY = "rate of prompts recovered"
_CONFIDENCE = 0.95
_LISTED = 5
# The meaning of each status, printed once for all prompts that failed with it.
_WHY = {
    "ambiguous": "ambiguous (two candidates verify)",
    "nearest, unverified": "nearest, unverified (no candidate verifies)",
    "not finite": "not finite (the state, or every candidate's)",
}
_SAME = "ambiguous (another token has the same embedding)"
_TWINS = "a prompt with one of them is ambiguous, the others are not touched"


def check_sipit_recovers(
    audit: "Audited",
    layer: LayerSpec | None = None,
    *,
    min_rate: float = 1.0,
    confidence: float | None = None,
    prompts: int = 20,
    tokens: int = 20,
    policy: str = "lens",
    certify: int | None = None,
) -> Verdict:
    """SipIt recovers prompts from their hidden states, token by token, and verifies them.

    A prompt counts when every token is right and every position verified (SPEC section 4).

    Args:
        audit: the audit whose model is judged.
        layer: the layers judged.
        min_rate: the least share of prompts recovered.
        confidence: judge what the sample proves; refused with ``min_rate=1.0``, which no sample proves.
        prompts: how many prompts, drawn by hash from those with enough tokens.
        tokens: their length; longer prompts are cut to it.
        policy: ``lens``, ``lm-order``, ``gradient`` or ``random``; orders the candidates only.
        certify: positions a layer that are certified by a pass over the whole vocabulary; None: in a
            seeded order until these passes have run as many tokens as the recovery, at least one
            and at most 100.

    Raises:
        LayerError: the model has no such layer.
        OptionError: a number or the policy is not accepted, or too few prompts are long enough.

    Example:
        >>> verdict = audit.check_sipit_recovers(-1, prompts=2, tokens=5, certify=0)
        >>> verdict.first_line
        'PASS sipit_recovers: layer04: 2 of 2 prompts recovered (wants 1)'
    """
    attempt = Attempt(
        min_rate=share_at_least("min_rate", min_rate),
        confidence=optional_confidence(confidence),
        prompts=count("prompts", prompts),
        tokens=count("tokens", tokens),
        policy=policy,
        certify=optional_count("certify", certify),
    )
    layers = by_layer(audit, "layer", attempt, layer)
    judged = [judge_recovery(audit.measurements, one, attempt) for one in layers]
    return audit.verdict("sipit_recovers", settled(judged, confidence))


def judge_recovery(
    measured: "Measurements", layer: Layer, attempt: Attempt
) -> tuple[Reason, tuple[float, float]]:
    """The reason a layer contributes to ``sipit_recovers``, and its p-values."""
    if reason := not_finite(measured, layer, _QUANTITY, attempt.min_rate):
        return reason, (1.0, 0.0)
    sample = measured.target.prompts.sample(attempt.prompts, attempt.tokens)
    found = recovered(measured, layer, attempt)
    exact = [one.exact for one in found.prompts]
    right, rate = sum(exact), sum(exact) / len(exact)
    reason = Reason(
        where=layer_id(layer),
        status=judge(rate, ">=", attempt.min_rate),
        quantity=_QUANTITY,
        value=rate,
        bound=attempt.min_rate,
        relation=">=",
        headline=f"{right} of {number_of(len(exact), 'prompt')} recovered (wants"
        f" {attempt.min_rate:.6g})",
        evidence=(
            *_failures(measured, found, sample.prompts, sample.ids),
            *_how(measured, layer, attempt, found),
        ),
        interval=clopper_pearson(right, len(exact), attempt.confidence or _CONFIDENCE),
        would_pass=f"a rate of at most {show_down(rate)}",
        figures=_figures(measured, layer, attempt, found),
        seconds=found.seconds,
    )
    if attempt.confidence is None:
        return reason, (1.0, 1.0)
    return reason, rate_p_values(right, len(exact), attempt.min_rate)


def _failures(
    measured: "Measurements",
    found: Recovered,
    chosen: tuple[int, ...],
    truths: Sequence[tuple[int, ...]],
) -> list[str]:
    lines = []
    for prompt, truth, one in zip(chosen, truths, found.prompts, strict=True):
        if not one.exact:
            residual = "" if one.residual is None else f", residual {show(one.residual)}"
            at = one.position
            words = "" if at is None else token_words(measured, truth[at], twin=one.twin)
            why = f"{one.why}{words}{residual}"
            lines.append(f"{measured.target.name_of(prompt)}: position {at}: {why}")
    more = [f"… and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
    return lines[:_LISTED] + more + _summed(found)


def _summed(found: Recovered) -> list[str]:
    """Counts of where and why prompts failed first; empty where no prompt failed."""
    failed = [one for one in found.prompts if not one.exact]
    if not failed:
        return []
    why = Counter(_SAME if one.twin else _WHY.get(one.why, one.why) for one in failed)
    at = Counter(one.position for one in failed if one.position is not None)
    places = ", ".join(f"{where}{f' ({n} prompts)' * (n > 1)}" for where, n in sorted(at.items()))
    reasons = ", ".join(f"{text}: {n}" for text, n in why.most_common())
    return [f"failed first at positions {places}", f"reasons: {reasons}"]


def _figures(
    measured: "Measurements", layer: Layer, attempt: Attempt, found: Recovered
) -> dict[str, float]:
    tokens = len(found.prompts) * attempt.tokens
    figures = {
        "tokens_right": sum(one.right for one in found.prompts) / tokens,
        "candidates_per_token": found.candidates_per_token,
        "forwards_per_token": found.forwards_per_token,
        "certified": found.certified,
        "ambiguous": found.ambiguous,
        "eps": measured.resolution(layer).later.ordinary_radius,
        "prompts": len(found.prompts),
        "tokens": attempt.tokens,
    }
    lost = Counter(one.position for one in found.prompts if one.position is not None)
    figures |= {f"failed_at_{position}": count for position, count in sorted(lost.items())}
    if found.searched:
        figures["first_guess_right"] = found.first_guesses / found.searched
    return figures


def _how(measured: "Measurements", layer: Layer, attempt: Attempt, found: Recovered) -> list[str]:
    resolution = measured.resolution(layer)
    first, later = resolution.radii
    right = sum(one.right for one in found.prompts)
    how = (
        f"{right} of {number_of(len(found.prompts) * attempt.tokens, 'token')} right, policy"
        f" {attempt.policy},"
        f" {found.candidates_per_token:.1f} candidates a token"
    )
    tokens = clustered_rate(
        np.array([one.right for one in found.prompts]),
        np.full(len(found.prompts), attempt.tokens),
        _CONFIDENCE,
    )
    ranks = (
        f"the first candidate was right for {found.first_guesses} of"
        f" {number_of(found.searched, 'token')}"
    )
    if found.largest_rank is not None:
        ranks += f", the worst rank was {found.largest_rank}"
    radius = (
        f"eps {show(later)} (position 0: {show(first)}) in the scaled distance, which covers"
        f" 999 of 1,000 states over {resolution.later.evaluations}"
        f" ({resolution.first.evaluations}) evaluations, attention sinks apart; resolution"
        f" {show(resolution.value)}"
    )
    lines = [
        how,
        f"{found.forwards_per_token:.2f} tokens run a token, certificates apart; {ranks}",
        f"rate of tokens right {tokens}, tokens clustered by prompt",
        radius,
    ]
    if found.told_apart:
        lines.append(
            f"{number_of(found.told_apart, 'rival')} of answers"
            f" {verb(found.told_apart, 'was', 'were')} told from them by evaluation in eight ways"
        )
    if found.by_evaluation:
        lines.append(
            f"{number_of(found.by_evaluation, 'answer')}"
            f" {verb(found.by_evaluation, 'verifies', 'verify')} only by evaluation in eight ways, which"
            " differ by more than eps"
        )
    lines += certified_lines(found, budgeted=attempt.certify is None)
    return lines + vocabulary_lines(measured.token_classes, _TWINS)
