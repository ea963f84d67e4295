"""Whether SipIt recovers prompts from the states of one layer (SPEC section 4)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_injectivity.audit.checks.common import not_finite
from pytest_injectivity.audit.checks.recovered import Recovered
from pytest_injectivity.core.layers import Layer, layer_id
from pytest_injectivity.core.number_keys import NumberKey
from pytest_injectivity.core.numbers import show
from pytest_injectivity.results.verdict import Reason, judge
from pytest_injectivity.stats import clopper_pearson, clustered_rate, rate_p_values

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements import Measurements

_QUANTITY = "rate of prompts recovered"
_CONFIDENCE = 0.95
_LISTED = 5
# What a status means, said once for all prompts that failed by it.
_WHY = {
    "ambiguous": "ambiguous (two candidates verify)",
    "nearest, unverified": "nearest, unverified (no candidate verifies)",
    "not finite": "not finite (the state, or every candidate's)",
}


@dataclass(frozen=True)
class RecoveryKey(NumberKey):
    """What SipIt recovers of prompts.

    Attributes:
        layer: the layer.
        prompts: how many prompts.
        tokens: their length.
        policy: orders the candidates.
        certify: positions that are certified by a pass over the whole vocabulary.
        seed: of the policy.
        eps: the radius of the verifier at position 0 and at all after it.
    """

    layer: Layer
    prompts: int
    tokens: int
    policy: str
    certify: int
    seed: int
    eps: tuple[float, float]


@dataclass(frozen=True)
class Attempt:
    """What is to be recovered, and how.

    Attributes:
        min_rate: the least share of prompts recovered exactly and verified.
        confidence: of the gate where it was given.
        prompts: how many prompts.
        tokens: their length; longer prompts are cut to it.
        policy: orders the candidates.
        certify: positions a layer that are certified by a pass over the whole vocabulary.
    """

    min_rate: float
    confidence: float | None
    prompts: int
    tokens: int
    policy: str
    certify: int


def judge_recovery(
    measured: "Measurements", layer: Layer, attempt: Attempt
) -> tuple[Reason, tuple[float, float]]:
    """The reason a layer contributes to ``sipit_recovers``, and its p-values."""
    if reason := not_finite(measured, layer, _QUANTITY, attempt.min_rate):
        return reason, (1.0, 0.0)
    sample = measured.prompts.sample(attempt.prompts, attempt.tokens)
    found = _recovered(measured, layer, attempt, sample.ids)
    exact = [one.exact for one in found.prompts]
    recovered, rate = sum(exact), sum(exact) / len(exact)
    reason = Reason(
        where=layer_id(layer),
        status=judge(rate, ">=", attempt.min_rate),
        quantity=_QUANTITY,
        value=rate,
        bound=attempt.min_rate,
        relation=">=",
        headline=f"{recovered} of {len(exact)} prompts recovered (wants {attempt.min_rate:.6g})",
        evidence=(
            *_failures(measured, found, sample.prompts),
            *_how(measured, layer, attempt, found),
        ),
        interval=clopper_pearson(recovered, len(exact), attempt.confidence or _CONFIDENCE),
        would_pass=f"a rate of at most {rate!r}",
        figures=_figures(measured, layer, attempt, found),
        seconds=found.seconds,
    )
    if attempt.confidence is None:
        return reason, (1.0, 1.0)
    return reason, rate_p_values(recovered, len(exact), attempt.min_rate)


def _recovered(
    measured: "Measurements", layer: Layer, attempt: Attempt, truths: Sequence[tuple[int, ...]]
) -> Recovered:
    noise = measured.noise(layer)
    key = RecoveryKey(
        layer=layer,
        prompts=attempt.prompts,
        tokens=attempt.tokens,
        policy=attempt.policy,
        certify=attempt.certify,
        seed=measured.config.seed,
        eps=(noise.at(0), noise.at(1)),
    )
    return measured.remember(key, lambda: _invert(measured, layer, attempt, truths))


def _invert(
    measured: "Measurements", layer: Layer, attempt: Attempt, truths: Sequence[tuple[int, ...]]
) -> Recovered:
    from pytest_injectivity.inversion.sipit import observe, recover_all

    decoder, noise = measured.decoder, measured.noise(layer)
    label = f"SipIt {layer_id(layer)}"
    with measured.watcher.progress(label, len(truths)) as advance:
        states = [observe(decoder, truth, [layer])[layer] for truth in truths]
        inversion = recover_all(
            decoder,
            states,
            layer,
            # The sink at position 0 has a floor of its own, the last number serves the rest.
            eps=(noise.at(0), noise.at(1)),
            policy=attempt.policy,
            seed=measured.config.seed,
            known=known_tokens(measured, truths),
            certify=attempt.certify,
            progress=advance,
        )
    return Recovered.of(inversion, truths)


def known_tokens(measured: "Measurements", truths: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The special token that every prompt begins with: the attacker knows it."""
    bos = getattr(measured.tokenizer, "bos_token_id", None)
    given = measured.prompts.special_tokens and all(truth[0] == bos for truth in truths)
    return truths[0][:1] if given and len(truths[0]) > 1 else ()


def _failures(measured: "Measurements", found: Recovered, chosen: tuple[int, ...]) -> list[str]:
    lines = []
    for prompt, one in zip(chosen, found.prompts, strict=True):
        if not one.exact:
            residual = "" if one.residual is None else f", residual {show(one.residual)}"
            lines.append(
                f"{measured.name_of(prompt)}: position {one.position}: {one.why}{residual}"
            )
    more = [f"… and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
    return lines[:_LISTED] + more + _summed(found)


def _summed(found: Recovered) -> list[str]:
    """Where and why prompts failed first, counted; nothing where none did."""
    failed = [one for one in found.prompts if not one.exact]
    if not failed:
        return []
    why = Counter(_WHY.get(one.why, one.why) for one in failed)
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
        "eps": measured.noise(layer).at(1),
    }
    if found.searched:
        figures["first_guess_right"] = found.first_guesses / found.searched
    return figures


def _how(measured: "Measurements", layer: Layer, attempt: Attempt, found: Recovered) -> list[str]:
    noise = measured.noise(layer)
    right = sum(one.right for one in found.prompts)
    how = (
        f"{right} of {len(found.prompts) * attempt.tokens} tokens right, policy {attempt.policy},"
        f" {found.candidates_per_token:.1f} candidates a token"
    )
    tokens = clustered_rate(
        np.array([one.right for one in found.prompts]),
        np.full(len(found.prompts), attempt.tokens),
        _CONFIDENCE,
    )
    ranks = f"the first candidate was right for {found.first_guesses} of {found.searched} tokens"
    if found.largest_rank is not None:
        ranks += f", the worst rank was {found.largest_rank}"
    lines = [
        how,
        f"{found.forwards_per_token:.2f} tokens run a token, certificates apart; {ranks}",
        f"rate of tokens right {tokens}, tokens clustered by prompt",
        f"eps {show(noise.at(1))} (position 0: {show(noise.at(0))}), from the noise floor",
    ]
    if found.certified:
        ambiguous = clopper_pearson(found.ambiguous, found.certified, _CONFIDENCE)
        margin = found.smallest_margin
        smallest = "" if margin is None else f", smallest local margin {show(margin)}"
        lines.append(
            f"{found.certified} positions passed over the whole vocabulary: {found.ambiguous}"
            f" ambiguous, rate {ambiguous}{smallest}"
        )
    return lines
