"""Judges whether states captured elsewhere can be read with this model (SPEC section 4)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from pytest_injectivity.audit.judging.arguments import (
    optional_confidence,
    optional_count,
    share_at_least,
)
from pytest_injectivity.audit.judging.base import Audited
from pytest_injectivity.audit.judging.certificates import certified_lines
from pytest_injectivity.audit.judging.common import settled
from pytest_injectivity.audit.judging.served import not_as_claimed
from pytest_injectivity.audit.judging.vocabulary import (
    token_words,
    vocabulary_lines,
)
from pytest_injectivity.audit.measurements.recovered import Recovered
from pytest_injectivity.audit.measurements.recovered_by_workers import inverted
from pytest_injectivity.audit.measurements.served_sample import frame_of
from pytest_injectivity.core.layers import layer_id
from pytest_injectivity.core.number_keys import NumberKey
from pytest_injectivity.core.numbers import show, show_down
from pytest_injectivity.core.text import number_of, one_line, verb
from pytest_injectivity.results.verdict import Reason, Status, Verdict, judge
from pytest_injectivity.stats import clopper_pearson, rate_p_values

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.measurements import Measurements
    from pytest_injectivity.inversion.observation import Observation
    from pytest_injectivity.inversion.recovery import Inversion
    from pytest_injectivity.states.external import ExternalStates

_QUANTITY = "rate of prompts read"
_CONFIDENCE = 0.95
_LISTED = 5
_TWINS = "a prompt with one of them is ambiguous, the others are not touched"


@dataclass(frozen=True)
class ExternalReadingKey(NumberKey):
    """Names the result of inverting a file of states captured elsewhere.

    Attributes:
        states: the SHA-256 of their file.
        policy: orders the candidates; None: SipIt's own choice.
        certify: positions that are certified by a pass over the whole vocabulary; None: by budget.
        seed: the policy's seed.
        special: the tokens that the tokenizer puts before every text.
        resolution: of the model's states, at position 0 and at all later positions.
    """

    states: str
    policy: str | None
    certify: int | None
    seed: int
    special: tuple[int, ...]
    resolution: tuple[float, float]


@dataclass(frozen=True)
class Reading:
    """The settings with which states are read.

    Attributes:
        min_rate: the least share of prompts read.
        confidence: the gate's level; None where point values are judged.
        policy: orders the candidates; None: SipIt's own choice.
        certify: positions that are certified by a pass over the whole vocabulary; None: as many as
            cost what the recovery does.
    """

    min_rate: float
    confidence: float | None
    policy: str | None
    certify: int | None


@dataclass(frozen=True)
class Read:
    """The result of reading a file of states: counts and positions, no token id.

    Attributes:
        observation: what the first tokens say about the observation error.
        recovered: the recovered prompts; None where the states are not the model's.
    """

    observation: "Observation"
    recovered: Recovered | None


def check_states_recoverable(
    audit: "Audited",
    *,
    min_rate: float = 1.0,
    confidence: float | None = None,
    policy: str | None = None,
    certify: int | None = None,
) -> Verdict:
    """The states in ``--injx-states`` can be read with this model, at the layer the file names.

    A prompt counts when every position is verified and, where the file has its ids, every token
    is right. The tolerance is the file's observation error, or an estimate of it from the first
    tokens, and never the local resolution alone (SPEC section 4). States of another model or
    layer fail, and the verdict says so. States with ids are first checked to be what they are claimed
    to be (SPEC section 9), and then read at every layer that there is.

    Args:
        audit: the audit whose model is judged.
        min_rate: the least share of prompts read.
        confidence: judge what the sample proves; refused with ``min_rate=1.0``, which no sample proves.
        policy: orders the candidates only; None: SipIt's own choice.
        certify: positions that are certified by a pass over the whole vocabulary; None: in a seeded
            order until these passes have run as many tokens as the recovery, at least one and at
            most 100.

    Raises:
        OptionError: no file is named, it is not accepted or does not fit the model, or a number
            or the policy is not accepted.

    Example:
        >>> audit.check_states_recoverable()
        Traceback (most recent call last):
        pytest_injectivity.errors.OptionError: no states captured elsewhere are named: ...
    """
    asked = Reading(
        min_rate=share_at_least("min_rate", min_rate),
        confidence=optional_confidence(confidence),
        policy=policy,
        certify=optional_count("certify", certify),
    )
    measured = audit.measurements
    every = measured.external_states
    if lost := _not_as_claimed(measured, every, asked):
        return audit.verdict("states_recoverable", lost)
    judged = [judge_external_states(measured, one, asked) for one in every]
    return audit.verdict("states_recoverable", settled(judged, confidence))


def _not_as_claimed(
    measured: "Measurements", every: Sequence["ExternalStates"], asked: Reading
) -> list[Reason]:
    """The failing reasons of states that are not what is claimed; none without ids, of which nothing is.

    How far those of `save_states` are off is given with them or estimated: that is no fault of theirs.
    """
    from pytest_injectivity.states.faults.base import ELSEWHERE
    from pytest_injectivity.states.served import is_served

    if any(one.ids is None for one in every):
        return []
    kinds = None if is_served(measured.target.config.states or "") else ELSEWHERE
    layers = [one.layer for one in every]
    return not_as_claimed(measured, layers, _QUANTITY, asked.min_rate, ">=", kinds=kinds)


def judge_external_states(
    measured: "Measurements", external: "ExternalStates", asked: Reading
) -> tuple[Reason, tuple[float, float]]:
    """The reason that a layer contributes to ``states_recoverable``, and its p-values."""
    if lost := external.finite.count(False):
        at = [_name(external, prompt) for prompt, fine in enumerate(external.finite) if not fine]
        headline = (
            f"{lost} of {number_of(len(external.states), 'prompt')}"
            f" {verb(lost, 'has', 'have')} states that are not finite"
        )
        evidence = [f"a NaN or an infinity in {', '.join(at[:_LISTED])}", _about(external)]
        return _failed(external, asked, headline, evidence)
    if not math.isfinite(sum(_resolution(measured, external))):
        return _failed(external, asked, "the resolution is not finite", [_about(external)])
    read, inversion = _read(measured, external, asked)
    if read.recovered is None:
        headline, line = _mismatch(external, read.observation)
        return _failed(external, asked, headline, [line, _about(external)])
    return _judged(measured, external, asked, read, inversion)


def _judged(
    measured: "Measurements",
    external: "ExternalStates",
    asked: Reading,
    read: Read,
    inversion: "Inversion | None",
) -> tuple[Reason, tuple[float, float]]:
    found = cast("Recovered", read.recovered)
    total = len(found.prompts)
    recovered = sum(one.exact for one in found.prompts)
    what = "recovered" if external.ids is not None else "verified"
    observed = read.observation
    reason = Reason(
        where=layer_id(external.layer),
        status=judge(recovered / total, ">=", asked.min_rate),
        quantity=_QUANTITY,
        value=recovered / total,
        bound=asked.min_rate,
        relation=">=",
        headline=f"{recovered} of {number_of(total, 'prompt')} {what} (wants {asked.min_rate:.6g})",
        evidence=(
            *_failures(measured, external, found),
            *(_shown(measured, external, inversion) if inversion else ()),
            *_how(external, read, found, budgeted=asked.certify is None),
            *vocabulary_lines(measured.token_classes, _TWINS),
            _about(external),
        ),
        seconds=found.seconds,
        interval=clopper_pearson(recovered, total, asked.confidence or _CONFIDENCE),
        would_pass=f"a rate of at most {show_down(recovered / total)}",
        figures={
            "observation_error": observed.error[-1],
            "resolution": observed.eps[-1] - observed.error[-1],
            "first_residual": observed.residual,
            "candidates_per_token": found.candidates_per_token,
        },
    )
    if asked.confidence is None:
        return reason, (1.0, 1.0)
    return reason, rate_p_values(recovered, total, asked.min_rate)


def _failed(
    external: "ExternalStates", asked: Reading, headline: str, evidence: list[str]
) -> tuple[Reason, tuple[float, float]]:
    reason = Reason(
        where=layer_id(external.layer),
        status=Status.FAIL,
        quantity=_QUANTITY,
        value=math.nan,
        bound=asked.min_rate,
        relation=">=",
        headline=headline,
        evidence=tuple(evidence),
    )
    return reason, (1.0, 0.0)


def _resolution(measured: "Measurements", external: "ExternalStates") -> tuple[float, float]:
    return measured.resolution(external.layer).ordinary


def _read(
    measured: "Measurements", external: "ExternalStates", asked: Reading
) -> tuple[Read, "Inversion | None"]:
    """Read the states; the inversion with its tokens is returned only where prompts may be shown."""
    if measured.target.config.show_prompts:
        return _invert(measured, external, asked)
    key = ExternalReadingKey(
        states=external.digest,
        policy=asked.policy,
        certify=asked.certify,
        seed=measured.target.config.seed,
        special=frame_of(measured.target),
        resolution=_resolution(measured, external),
    )
    return measured.target.remember(key, lambda: _invert(measured, external, asked)[0]), None


def _invert(
    measured: "Measurements", external: "ExternalStates", asked: Reading
) -> tuple[Read, "Inversion | None"]:
    from pytest_injectivity.inversion.observation import Match, observe_first
    from pytest_injectivity.inversion.sipit import Settings

    resolution = measured.resolution(external.layer)
    observed = observe_first(
        measured.target.decoder,
        external.states,
        external.layer,
        nu=resolution.ordinary,
        given=external.observation_error,
        special=frame_of(measured.target),
    )
    if observed.match is not Match.YES:
        return Read(observed, None), None
    settings = Settings(nu=resolution.tolerance, seed=measured.target.config.seed)
    if asked.policy is not None:
        settings["policy"] = asked.policy
    prompts = len(external.states)
    measured.target.foretelling.before(
        lambda costs: costs.sipit(
            external.layer,
            prompts=prompts,
            tokens=-(-sum(map(len, external.states)) // prompts),
            certify=asked.certify,
        )
    )
    with measured.target.watcher.progress("states from elsewhere", 2 * prompts) as advance:
        inversion = inverted(
            measured.target,
            external.states,
            external.layer,
            eps=observed.tolerance(resolution.median_norms),
            certify=asked.certify,
            progress=advance,
            **settings,
        )
    # Without ids in the file a prompt counts where every position verifies.
    truths = external.ids or [cast("tuple[int, ...]", one.ids) for one in inversion.recoveries]
    return Read(observed, Recovered.of(inversion, truths)), inversion


def _mismatch(external: "ExternalStates", observed: "Observation") -> tuple[str, str]:
    """Why nothing was inverted: a short text for the first line, and a full sentence."""
    from pytest_injectivity.inversion.observation import Match

    given, first = external.observation_error, "the first token"
    if observed.position:
        first += " after the special tokens"
    numbers = (
        f"residual {show(observed.residual)} against a resolution of {show(observed.resolution)},"
        f" states of norm {show(observed.norm)}"
    )
    if observed.match is Match.NO:
        return "not of this model at this layer", (
            f"these states are not of this model at this layer: nothing verifies at {first}; {numbers}"
        )
    if given is None:
        return "the observation error cannot be estimated", (
            f"several tokens are about as near to the state of {first} as the nearest: {numbers}; state"
            " the observation_error in the file"
        )
    return "nothing verifies within the error given", (
        f"nothing verifies at {first} within the observation error given,"
        f" {show(observed.error[observed.position])}: {numbers}; the error is larger, or the states are"
        " of another model or layer"
    )


def _about(external: "ExternalStates") -> str:
    ids = "with ids" if external.ids is not None else "no ids to judge by: verified positions count"
    return (
        f"{one_line(external.source)}: {number_of(len(external.states), 'prompt')},"
        f" {number_of(sum(map(len, external.states)), 'position')}, {external.dtype}, {ids}"
    )


def _name(external: "ExternalStates", prompt: int) -> str:
    return f"prompt {prompt} of the file ({number_of(len(external.states[prompt]), 'token')})"


def _failures(measured: "Measurements", external: "ExternalStates", found: Recovered) -> list[str]:
    lines = []
    for prompt, one in enumerate(found.prompts):
        if not one.exact:
            residual = "" if one.residual is None else f", residual {show(one.residual)}"
            at, why = one.position, one.why
            if external.ids is not None and at is not None:
                why += token_words(measured, external.ids[prompt][at], twin=one.twin)
            lines.append(f"{_name(external, prompt)}: position {at}: {why}{residual}")
    more = [f"… and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
    return lines[:_LISTED] + more


def _shown(
    measured: "Measurements", external: "ExternalStates", inversion: "Inversion"
) -> list[str]:
    """Lines with the recovered texts; called only where prompts may be shown."""
    tokenizer, lines = measured.target.tokenizer, []
    for prompt, recovery in enumerate(inversion.recoveries[:_LISTED]):
        ids = [token for token in recovery.ids if token is not None]
        text = str(ids) if tokenizer is None else repr(tokenizer.decode(ids))
        lines.append(f"{_name(external, prompt)} reads {one_line(text)}")
    return lines


def _how(external: "ExternalStates", read: Read, found: Recovered, *, budgeted: bool) -> list[str]:
    observed, positions = read.observation, sum(map(len, external.states))
    resolution = observed.eps[-1] - observed.error[-1]
    if observed.relative is None:
        error = f"observation error {show(observed.error[-1])}, given"
    else:
        error = (
            f"observation error {show(observed.error[-1])}, estimated from {observed.verified} of"
            f" {number_of(observed.looked_at, 'first token')} that verify:"
            f" {show(observed.relative)} of a state's"
            " norm, twice that after them"
        )
    lines = [f"{error}; resolution {show(resolution)} on top"]
    if 2 * observed.verified < observed.looked_at:
        lines.append(
            f"only {observed.verified} of {number_of(observed.looked_at, 'first token')}"
            f" {verb(observed.verified, 'verifies', 'verify')}: are these states of"
            " this model at this layer?"
        )
    right = (
        ""
        if external.ids is None
        else f"{sum(p.right for p in found.prompts)} of {number_of(positions, 'token')} right, "
    )
    lines.append(f"{right}{found.candidates_per_token:.1f} candidates a token")
    return lines + certified_lines(found, budgeted=budgeted)
