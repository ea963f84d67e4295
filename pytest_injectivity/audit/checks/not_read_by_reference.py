"""Judges how many tokens somebody who has the parent reads from a layer's states (SPEC section 4)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_injectivity.audit.comparisons.cross_inversion import cross_inversion, of_tokens
from pytest_injectivity.audit.judging.arguments import (
    REQUIRED,
    count,
    optional_confidence,
    share_at_most,
)
from pytest_injectivity.audit.judging.base import Audited, against_reference, by_layer, compared
from pytest_injectivity.audit.judging.retained import lost_rows
from pytest_injectivity.core.layers import Layer, LayerSpec, layer_id
from pytest_injectivity.core.numbers import show, show_up
from pytest_injectivity.core.text import number_of
from pytest_injectivity.core.tolerances import PerLayer
from pytest_injectivity.results.verdict import Reason, Verdict, judge

if TYPE_CHECKING:
    from pytest_injectivity.audit.comparisons.against import Against
    from pytest_injectivity.inversion.cross_model import CrossInversion

_QUANTITY = "tokens the parent reads, upper bound"

_POINT = "tokens the parent reads"

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Attack:
    """The settings of the cross inversion.

    Attributes:
        prompts: how many prompts are attacked.
        tokens: their length; longer prompts are cut to it.
        confidence: the level of the interval whose upper limit is judged; None: the point value.
    """

    prompts: int
    tokens: int
    confidence: float | None


def check_not_read_by_reference(
    audit: "Audited",
    layer: LayerSpec | None = None,
    max_rate: PerLayer[float] = REQUIRED,
    *,
    prompts: int = 20,
    tokens: int = 20,
    confidence: float | None = 0.95,
) -> Verdict:
    """Somebody who has the parent reads at most this share of tokens from the model's states.

    Two attacks are made (`cross_inversion`), and the upper limit of the one that read more is
    judged. A pass says that these two attacks read little; it does not prove that none can.

    Args:
        audit: the audit whose model is judged.
        layer: the layers judged; None: those of the config.
        max_rate: the largest share of tokens read that is accepted.
        prompts: how many prompts are attacked; 20 prompts with no token read bound the rate at 0.17.
        tokens: their length.
        confidence: the level of the upper limit; None: the point value is judged.

    Raises:
        LayerError: the model has no such layer.
        OptionError: a number is not accepted, no reference is named or it is no parent, or too few
            prompts are long enough.

    Example:
        >>> coarse = audit.in_precision(dtype="bfloat16")
        >>> coarse.check_not_read_by_reference(-1, 0.5, prompts=2, tokens=3).status
        <Status.FAIL: 'FAIL'>
    """
    attack = Attack(
        count("prompts", prompts), count("tokens", tokens), optional_confidence(confidence)
    )
    rates = (
        {spec: share_at_most("max_rate", one) for spec, one in max_rate.items()}
        if isinstance(max_rate, Mapping)
        else share_at_most("max_rate", max_rate)
    )
    bounds = by_layer(audit, "max_rate", rates, layer)

    against = compared(audit, bounds)
    reasons = []
    for one in bounds:
        reasons.append(judge_unread(against, one, bounds[one], attack))
        if math.isfinite(reasons[-1].value):
            audit.comparisons.cross_inversion(one, prompts=prompts, tokens=tokens)
    return against_reference(audit, "not_read_by_reference", bounds, reasons)


def judge_unread(against: "Against", layer: Layer, max_rate: float, attack: Attack) -> Reason:
    """The reason a layer contributes to ``not_read_by_reference``.

    The upper limit of the token rate of the attack that read more is compared with the bound.
    """
    if reason := lost_rows(against, layer, _QUANTITY, max_rate):
        return reason
    found = cross_inversion(against, layer, attack.prompts, attack.tokens)
    confidence = attack.confidence or _CONFIDENCE
    rates = [of_tokens(read, found.searched, confidence) for read in (found.argmin, found.ball)]
    judged_by = [rate if attack.confidence is None else interval.high for rate, interval in rates]
    value = max(judged_by)
    rate, interval = rates[judged_by.index(value)]
    return Reason(
        where=layer_id(layer),
        status=judge(value, "<=", max_rate),
        quantity=_QUANTITY if attack.confidence is not None else _POINT,
        value=value,
        bound=max_rate,
        relation="<=",
        evidence=tuple(_lines(found, confidence)),
        interval=interval,
        would_pass=f"max_rate of at least {show_up(value)}",
        figures={"rate": rate, "drift": found.drift} if math.isfinite(found.drift) else {},
        seconds=found.seconds,
    )


def _lines(found: "CrossInversion", confidence: float) -> list[str]:
    lines = []
    for words, read in (("nearest candidate", found.argmin), ("within the drift", found.ball)):
        tokens, interval = of_tokens(read, found.searched, confidence)
        lines.append(
            f"{words}: {read.whole} of {number_of(len(read.right), 'prompt')} read whole, tokens"
            f" {show(tokens)},"
            f" clustered by prompt {interval}"
        )
    lines.append(
        f"states attacked lie {show(found.drift)} of the parent's norm from the parent's (median);"
        f" eps {show(found.eps[-1])} (position 0: {show(found.eps[0])}), from other prompts"
    )
    return [*lines, "two attacks read so much: that others read no more is not shown"]
