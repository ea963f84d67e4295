"""Whether SipIt recovers prompts from the states of one layer (SPEC section 4)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_injectivity.checks.common import not_finite
from pytest_injectivity.errors import OptionError
from pytest_injectivity.layers import Layer, layer_id
from pytest_injectivity.stats import clopper_pearson, rate_p_values
from pytest_injectivity.verdict import Reason, judge, show

if TYPE_CHECKING:
    from pytest_injectivity.inversion.recovery import Inversion
    from pytest_injectivity.measurements import Measurements

_QUANTITY = "rate of prompts recovered"
_CONFIDENCE = 0.95
_LISTED = 5


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


def chosen_prompts(measured: "Measurements", attempt: Attempt) -> tuple[int, ...]:
    """Indexes of the prompts to recover: of those long enough, the ones with the smallest hashes.

    Raises:
        OptionError: there are fewer than asked for.
    """
    prompts = measured.prompts
    long_enough = [i for i, ids in enumerate(prompts.ids) if len(ids) >= attempt.tokens]
    if attempt.prompts < 1 or attempt.tokens < 1 or len(long_enough) < attempt.prompts:
        raise OptionError(
            f"sipit: {attempt.prompts} prompts of {attempt.tokens} tokens were asked for, and"
            f" {len(long_enough)} of {len(prompts)} prompts have {attempt.tokens}: give fewer"
            " prompts= or tokens=, both at least 1"
        )
    return tuple(sorted(long_enough, key=prompts.hashes.__getitem__)[: attempt.prompts])


def judge_recovery(
    measured: "Measurements", layer: Layer, attempt: Attempt
) -> tuple[Reason, tuple[float, float]]:
    """The reason a layer contributes to ``sipit_recovers``, and its p-values."""
    if reason := not_finite(measured, layer, _QUANTITY, attempt.min_rate):
        return reason, (1.0, 0.0)
    chosen = chosen_prompts(measured, attempt)
    truths = [measured.prompts.ids[prompt][: attempt.tokens] for prompt in chosen]
    inversion = _invert(measured, layer, attempt, truths)
    exact = [
        recovery.exact(truth) for recovery, truth in zip(inversion.recoveries, truths, strict=True)
    ]
    recovered, rate = sum(exact), sum(exact) / len(exact)
    reason = Reason(
        layer=layer_id(layer),
        status=judge(rate, ">=", attempt.min_rate),
        quantity=_QUANTITY,
        value=rate,
        bound=attempt.min_rate,
        relation=">=",
        headline=f"{recovered} of {len(exact)} prompts recovered (wants {attempt.min_rate:.6g})",
        evidence=(
            *_failures(measured, inversion, chosen, truths),
            *_how(measured, layer, attempt, inversion, truths),
        ),
        interval=clopper_pearson(recovered, len(exact), attempt.confidence or _CONFIDENCE),
        would_pass=f"a rate of at most {rate!r}",
    )
    if attempt.confidence is None:
        return reason, (1.0, 1.0)
    return reason, rate_p_values(recovered, len(exact), attempt.min_rate)


def _invert(
    measured: "Measurements", layer: Layer, attempt: Attempt, truths: list[tuple[int, ...]]
) -> "Inversion":
    from pytest_injectivity.inversion.sipit import observe, recover_all

    decoder, noise = measured.decoder, measured.noise(layer)
    label = f"SipIt {layer_id(layer)}"
    with measured.watcher.progress(label, len(truths)) as advance:
        states = [observe(decoder, truth, [layer])[layer] for truth in truths]
        return recover_all(
            decoder,
            states,
            layer,
            # The sink at position 0 has a floor of its own, the last number serves the rest.
            eps=(noise.at(0), noise.at(1)),
            policy=attempt.policy,
            seed=measured.config.seed,
            known=_known(measured, truths),
            certify=attempt.certify,
            progress=advance,
        )


def _known(measured: "Measurements", truths: list[tuple[int, ...]]) -> tuple[int, ...]:
    """The special token that every prompt begins with: the attacker knows it."""
    bos = getattr(measured.decoder.tokenizer, "bos_token_id", None)
    given = measured.prompts.special_tokens and all(truth[0] == bos for truth in truths)
    return truths[0][:1] if given and len(truths[0]) > 1 else ()


def _failures(
    measured: "Measurements",
    inversion: "Inversion",
    chosen: tuple[int, ...],
    truths: list[tuple[int, ...]],
) -> list[str]:
    lines = []
    for prompt, recovery, truth in zip(chosen, inversion.recoveries, truths, strict=True):
        if recovery.exact(truth):
            continue
        wrong = recovery.first_error(truth)
        failed = recovery.failures[0] if recovery.failures else None
        at = wrong if failed is None else failed.position
        why = "verified a wrong token" if failed is None else str(failed.status)
        residual = "" if failed is None else f", residual {show(failed.residual)}"
        lines.append(f"{measured.name_of(prompt)}: position {at}: {why}{residual}")
    more = [f"… and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
    return lines[:_LISTED] + more


def _how(
    measured: "Measurements",
    layer: Layer,
    attempt: Attempt,
    inversion: "Inversion",
    truths: list[tuple[int, ...]],
) -> list[str]:
    right = sum(
        token == expected
        for recovery, truth in zip(inversion.recoveries, truths, strict=True)
        for token, expected in zip(recovery.ids, truth, strict=True)
    )
    noise = measured.noise(layer)
    certified = inversion.sampled
    margins = [outcome.margin for outcome in certified if outcome.margin is not None]
    how = (
        f"{right} of {sum(map(len, truths))} tokens right, policy {attempt.policy},"
        f" {inversion.candidates_per_token:.1f} candidates a token, {inversion.seconds:.1f} s"
    )
    lines = [
        how,
        f"eps {show(noise.at(1))} (position 0: {show(noise.at(0))}), from the noise floor",
    ]
    if certified:
        ambiguous = clopper_pearson(inversion.ambiguous, len(certified), _CONFIDENCE)
        smallest = f", smallest local margin {show(min(margins))}" if margins else ""
        lines.append(
            f"{len(certified)} positions passed over the whole vocabulary: {inversion.ambiguous}"
            f" ambiguous, rate {ambiguous}{smallest}"
        )
    return lines
