"""Judges how near a model's next-token distributions are to its parent's (SPEC section 7)."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_injectivity.audit.comparisons.next_token import (
    agreement,
    divergence_quantile,
    mean_divergence,
    next_tokens,
)
from pytest_injectivity.audit.comparisons.next_token_by_layer import where_it_comes_from
from pytest_injectivity.audit.judging.arguments import (
    count,
    number_at_most,
    optional_confidence,
    share_at_least,
)
from pytest_injectivity.audit.judging.base import Audited, blame_lines, function_lines
from pytest_injectivity.core.interval import Interval
from pytest_injectivity.core.layers import HEAD
from pytest_injectivity.core.numbers import show, show_down, show_up
from pytest_injectivity.core.text import number_of
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.verdict import (
    WORST_FIRST,
    Reason,
    Relation,
    Status,
    Verdict,
    judge,
)

if TYPE_CHECKING:
    from pytest_injectivity.audit.comparisons.against import Against
    from pytest_injectivity.reference.next_token import NextTokens

_NAMED = 5
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class _Bound:
    """A number of the comparison with the bound that it is judged by.

    Attributes:
        name: of the argument.
        words: names the number.
        value, interval: as measured; no interval where none is known.
        bound, relation: the bound.
        status: of this number alone.
    """

    name: str
    words: str
    value: float
    interval: Interval | None
    bound: float
    relation: Relation
    status: Status


def check_next_token_kept(
    audit: "Audited",
    *,
    kl: float | None = None,
    top1: float | None = None,
    kl_q99: float | None = None,
    kl_q999: float | None = None,
    kl_max: float | None = None,
    prompts: int = 300,
    tokens: int = 128,
    second_half: bool = False,
    confidence: float | None = None,
) -> Verdict:
    """The model, its head included, predicts the next tokens that its parent predicts.

    Both read the prompts' own tokens, and their distributions are compared at every position from 1
    on: ``KL(parent || model)`` in nats, over the ids that both have. A logit that is NaN or plus
    infinity fails. Both models are in memory together.

    Args:
        audit: the audit whose model is judged.
        kl: the largest mean divergence accepted; give at least one of the five bounds.
        top1: the least share of positions at which both prefer the same token.
        kl_q99: the largest divergence accepted of 99 % of the positions.
        kl_q999: of 99.9 %.
        kl_max: of all positions.
        prompts: how many prompts are read at most, those of smallest hash.
        tokens: how many tokens of each are read at most.
        second_half: compare the second half of each prompt but its last position, as llama.cpp's
            perplexity tool does with a window.
        confidence: judge what the sample proves, by intervals clustered by prompt; of ``kl_max`` only
            the sample's value is known.

    Raises:
        OptionError: no bound is given or one is not accepted, no reference is named, or it is no
            parent, or no prompt is long enough.

    Example:
        >>> coarse = audit.in_precision(dtype="bfloat16")
        >>> coarse.check_next_token_kept(kl=0.01, top1=0.9, prompts=20).passed
        True
    """
    bounds: dict[str, float] = {}
    for name, given in (("kl", kl), ("kl_q99", kl_q99), ("kl_q999", kl_q999), ("kl_max", kl_max)):
        if given is not None:
            bounds[name] = number_at_most(name, given)
    if top1 is not None:
        bounds["top1"] = share_at_least("top1", top1)
    if not bounds:
        raise OptionError(
            "no bound is given, and the check is judged by them: give kl= (nats), top1= (a share),"
            " or both; kl_q99=, kl_q999= and kl_max= bound single positions"
        )
    against = audit.comparisons.against
    size = count("prompts", prompts), count("tokens", tokens, least=2)
    found = next_tokens(against, *size, second_half=second_half)
    measured = audit.comparisons.next_token(
        prompts=size[0], tokens=size[1], second_half=second_half
    )
    reason = judge_next_token(against, found, bounds, optional_confidence(confidence))
    notes = [
        where_it_comes_from(measured),
        *blame_lines(audit, [reason]),
        f"against {audit.run_summary().reference}",
    ]
    return audit.verdict(
        "next_token_kept", [reason], [*filter(None, notes)], function_lines(audit, [reason])
    )


def judge_next_token(
    against: "Against", found: "NextTokens", bounds: dict[str, float], confidence: float | None
) -> Reason:
    """The reason that the head contributes to ``next_token_kept``.

    Args:
        against: the model and its parent.
        found: the comparison.
        bounds: by the names of the arguments of `check_next_token_kept`.
        confidence: the level of the intervals that are judged; None: values are.
    """
    judged = [_judged(found, name, bound, confidence) for name, bound in bounds.items()]
    worst = min(judged, key=lambda one: WORST_FIRST.index(one.status))
    lost = found.lost | found.parents_lost
    return Reason(
        where=HEAD,
        status=Status.FAIL if lost.any() else worst.status,
        quantity=worst.words,
        value=math.nan if lost.any() else worst.value,
        bound=worst.bound,
        relation=worst.relation,
        headline=_lost_words(found) if lost.any() else "",
        evidence=(*_lost_lines(against, found), *_lines(against, found, confidence)),
        interval=None if lost.any() else worst.interval,
        would_pass="no bound" if lost.any() else ", ".join(map(_would_pass, judged)),
        figures={one.name: one.value for one in judged if math.isfinite(one.value)},
    )


def _judged(found: "NextTokens", name: str, bound: float, confidence: float | None) -> _Bound:
    relation: Relation = ">=" if name == "top1" else "<="
    words, value, interval = _measured(found, name, confidence or _CONFIDENCE)
    status = judge(value, relation, bound)
    if confidence is not None and interval is not None:
        ends = [judge(end, relation, bound) for end in (interval.low, interval.high)]
        alike = ends[0] is ends[1]
        status = ends[0] if alike and math.isfinite(value) else Status.INSUFFICIENT
        status = status if math.isfinite(value) else Status.FAIL
    return _Bound(name, words, value, interval, bound, relation, status)


def _measured(
    found: "NextTokens", name: str, confidence: float
) -> tuple[str, float, Interval | None]:
    """The words, the value and the interval of a number."""
    if name == "top1":
        return "top-1 agreement", *agreement(found, confidence)
    if name == "kl":
        return "mean KL", *mean_divergence(found, confidence)
    if name == "kl_max":
        return "largest KL", float(found.nats.max()), None
    q, words = (0.01, "99 % of KL") if name == "kl_q99" else (0.001, "99.9 % of KL")
    return words, *divergence_quantile(found, q, confidence)


def _would_pass(one: _Bound) -> str:
    if not math.isfinite(one.value) or (one.name == "top1" and not one.value):
        return f"no bound of {one.name}"
    if one.relation == ">=":
        return f"{one.name} of at most {show_down(one.value)}"
    return f"{one.name} of at least {show_up(one.value)}"


def _lost_words(found: "NextTokens") -> str:
    lost = found.lost if found.lost.any() else found.parents_lost
    of = "" if found.lost.any() else " of the parent"
    return f"logits{of} not finite at {int(lost.sum()):,} of {number_of(len(lost), 'position')}"


def _lost_lines(against: "Against", found: "NextTokens") -> list[str]:
    """The first position without a distribution of each prompt that has one, the first few by name."""
    lines = []
    for whose, lost, measured in (
        ("model's", found.lost, against.child),
        ("parent's", found.parents_lost, against.parent),
    ):
        places = np.flatnonzero(lost)
        first = places[np.unique(found.prompt[places], return_index=True)[1]]
        if len(first):
            more = f" … and {len(first) - _NAMED} more prompts" if len(first) > _NAMED else ""
            named = ", ".join(_place(against, found, one) for one in first[:_NAMED])
            lines.append(f"a NaN or an infinity in the {whose} logits, first at {named}{more}")
            lines += filter(None, [measured.target.facts.not_finite_line])
    return lines


def _lines(against: "Against", found: "NextTokens", confidence: float | None) -> list[str]:
    """The numbers, each with its interval; where the largest is; how it was measured."""
    level, lines = confidence or _CONFIDENCE, []
    if not (found.lost | found.parents_lost).any():
        numbers = [
            _measured(found, name, level) for name in ("kl", "kl_q99", "kl_q999", "kl_max", "top1")
        ]
        lines += [
            f"{words} {show(value)}{'' if interval is None else f' {interval}'}"
            for words, value, interval in numbers
        ]
        largest = int(np.argmax(found.nats))
        lines.append(f"largest KL: {_place(against, found, largest)}")
    sampled = number_of(len(np.unique(found.prompt)), "prompt")
    lines.append(
        f"KL(parent || model) in nats at {number_of(len(found.prompt), 'position')} of {sampled}"
    )
    if (elsewhere := float(np.nan_to_num(found.elsewhere).max())) > 0.0:
        lines.append(
            f"up to {show(elsewhere)} of the model's probability is on ids that the parent has not"
        )
    if found.narrow:
        lines.append(f"logits are rounded to {found.narrow} by a head that cannot be widened")
    return lines


def _place(against: "Against", found: "NextTokens", at: int) -> str:
    name = against.child.target.name_of(int(found.prompt[at]))
    return f"{name} position {int(found.position[at])}"
