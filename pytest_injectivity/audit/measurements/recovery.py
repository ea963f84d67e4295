"""Recovers prompts with SipIt from the states of one layer, once (SPEC section 4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_injectivity.audit.measurements.recovered import Recovered
from pytest_injectivity.audit.measurements.recovered_by_workers import inverted
from pytest_injectivity.core.layers import Layer, layer_id
from pytest_injectivity.core.number_keys import NumberKey
from pytest_injectivity.results.summary import Estimate
from pytest_injectivity.stats import clopper_pearson

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.measurements import Measurements

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class RecoveryKey(NumberKey):
    """Names the result of inverting prompts with SipIt.

    Attributes:
        layer: the layer.
        prompts: how many prompts.
        tokens: their length.
        policy: orders the candidates.
        certify: positions that are certified by a pass over the whole vocabulary; None: by budget.
        seed: the policy's seed.
        radii: scaled, of the verifier, at position 0 and at all later positions, of states that are no
            attention sinks.
    """

    layer: Layer
    prompts: int
    tokens: int
    policy: str
    certify: int | None
    seed: int
    radii: tuple[float, float]


@dataclass(frozen=True)
class Attempt:
    """The settings with which prompts are inverted, and the rate they are judged by.

    Attributes:
        min_rate: the least share of prompts recovered exactly and verified.
        confidence: the gate's level; None where point values are judged.
        prompts: how many prompts.
        tokens: their length; longer prompts are cut to it.
        policy: orders the candidates.
        certify: how many positions of a layer are certified by a pass over the whole vocabulary; None:
            as many as cost what the recovery does.
    """

    min_rate: float
    confidence: float | None
    prompts: int
    tokens: int
    policy: str
    certify: int | None


def recovered(measured: "Measurements", layer: Layer, attempt: Attempt) -> Recovered:
    """Invert the sample of prompts that `attempt` names, in the sample's order.

    Raises:
        OptionError: too few prompts are long enough.
    """
    truths = measured.target.prompts.sample(attempt.prompts, attempt.tokens).ids
    key = RecoveryKey(
        layer=layer,
        prompts=attempt.prompts,
        tokens=attempt.tokens,
        policy=attempt.policy,
        certify=attempt.certify,
        seed=measured.target.config.seed,
        radii=measured.resolution(layer).radii,
    )
    return measured.target.remember(key, lambda: _invert(measured, layer, attempt, truths))


def _invert(
    measured: "Measurements", layer: Layer, attempt: Attempt, truths: Sequence[tuple[int, ...]]
) -> Recovered:
    from pytest_injectivity.inversion.sipit import Settings

    target, resolution = measured.target, measured.resolution(layer)
    target.foretelling.before(
        lambda costs: costs.sipit(
            layer, prompts=attempt.prompts, tokens=attempt.tokens, certify=attempt.certify
        )
    )
    settings = Settings(
        scales=resolution.scales,
        policy=attempt.policy,
        seed=target.config.seed,
        known=known_tokens(measured, truths),
        evaluate=True,
    )
    eps, certify = resolution.scaled_tolerance, attempt.certify
    with target.watcher.progress(f"SipIt {layer_id(layer)}", 2 * len(truths)) as advance:
        inversion = inverted(
            target, truths, layer, eps=eps, certify=certify, progress=advance, **settings
        )
    return Recovered.of(inversion, truths)


def known_tokens(measured: "Measurements", truths: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The special token that every prompt begins with, which the attacker knows; empty without one."""
    bos = getattr(measured.target.tokenizer, "bos_token_id", None)
    given = measured.target.prompts.special_tokens and all(truth[0] == bos for truth in truths)
    return truths[0][:1] if given and len(truths[0]) > 1 else ()


def recovery_rate(measured: "Measurements", layer: Layer, attempt: Attempt) -> Estimate:
    """The share of prompts recovered, with its interval; empty for states that are not finite."""
    if not measured.is_finite(layer):
        return Estimate(None, None, None)
    found = recovered(measured, layer, attempt)
    exact = sum(one.exact for one in found.prompts)
    total = len(found.prompts)
    interval = clopper_pearson(exact, total, attempt.confidence or _CONFIDENCE)
    return Estimate.of(exact / total, interval)
