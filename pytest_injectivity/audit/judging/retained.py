"""Judges the ratio of a layer's margin, or co-Lipschitz constant, to the parent's.

Both sides are judged: a broken block can raise raw margins several times, so a ratio above the upper
limit fails like one below the lower limit.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pytest_injectivity.audit.comparisons.against import FEWEST
from pytest_injectivity.audit.judging.base import Audited, against_reference, compared
from pytest_injectivity.audit.judging.common import not_finite, settled
from pytest_injectivity.audit.judging.quantiles import Quantile
from pytest_injectivity.core.layers import Layer, layer_id
from pytest_injectivity.core.numbers import show, show_down, show_up
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.verdict import Reason, Relation, Status, Verdict

if TYPE_CHECKING:
    from pytest_injectivity.audit.comparisons.against import Against
    from pytest_injectivity.geometry.layer import LayerGeometry
    from pytest_injectivity.stats import PairedRatio

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Limits:
    """The limits within which a number's ratio to the parent's is accepted.

    Attributes:
        low: at least; above 0, at most 1.
        high: at most; at least 1, infinite for no limit.
    """

    low: float
    high: float

    @classmethod
    def of(cls, fraction: float, at_most: float | None) -> "Limits":
        """The limits from a check's arguments; without ``at_most`` the upper one is ``1 / fraction``.

        Raises:
            OptionError: ``fraction`` is not above 0 and at most 1, or ``at_most`` is below 1.
        """
        if not 0.0 < fraction <= 1.0:
            raise OptionError(
                f"fraction={fraction!r} is not a share to be kept: give a number above 0, at most 1"
            )
        high = 1.0 / fraction if at_most is None else at_most
        if not high >= 1.0 or isinstance(at_most, bool):
            raise OptionError(
                f"at_most={at_most!r} is not an upper limit of what is kept: give a number of at"
                " least 1, or math.inf for none"
            )
        return cls(fraction, float(high))


def lost_rows(against: "Against", layer: Layer, quantity: str, bound: float) -> Reason | None:
    """The failing reason of a layer with rows that are not finite, in the model or in its parent."""
    lost = not_finite(against.child, layer, quantity, bound)
    if lost is not None:
        return lost
    parents = not_finite(against.parent, layer, quantity, bound)
    if parents is None:
        return None
    return Reason(
        where=parents.where,
        status=Status.FAIL,
        quantity=quantity,
        value=math.nan,
        bound=bound,
        relation=parents.relation,
        headline=f"of the parent {parents.headline}",
        evidence=parents.evidence,
    )


def off_one(reason: Reason) -> float:
    """The distance of a ratio from 1 on a logarithmic scale, in either direction."""
    return abs(math.log(reason.value)) if reason.value > 0 else math.inf


class KeptNumber(NamedTuple):
    """A number that is compared with the parent's: its words, its ratio, and how a geometry has it."""

    words: str
    kept: "Callable[[Against, Layer, Quantile], PairedRatio]"
    of: "Callable[[LayerGeometry, Quantile], float]"


MARGIN = KeptNumber(
    "margin",
    lambda against, layer, asked: against.margin_kept(layer, asked.q, normalized=asked.normalized),
    lambda geometry, asked: geometry.margin(asked.q, normalized=asked.normalized),
)
COLIPSCHITZ = KeptNumber(
    "co-Lipschitz",
    lambda against, layer, asked: against.colipschitz_kept(
        layer, asked.q, normalized=asked.normalized
    ),
    lambda geometry, asked: geometry.colipschitz(asked.q, normalized=asked.normalized),
)


def verdict_of_kept(
    audit: Audited,
    check: str,
    number: KeptNumber,
    shares: Mapping[Layer, float],
    asked: Quantile,
    *,
    at_most: float | None,
) -> Verdict:
    """Judge layers by the ratios of a number to the parent's.

    Args:
        audit: the audit whose model is judged.
        check: the name of the check.
        number: what is compared.
        shares: the least share of the parent's number, by layer.
        asked: which quantile of the number.
        at_most: the largest share accepted; None: ``1 / share``.

    Raises:
        OptionError: a limit is not accepted, no reference is named, or it is no parent.
    """
    limits = {layer: Limits.of(share, at_most) for layer, share in shares.items()}
    against = compared(audit, limits)
    judged = [judge_kept(against, layer, limits[layer], asked, number) for layer in limits]
    reasons = settled(judged, asked.confidence)
    return against_reference(audit, check, limits, reasons, off_one)


def judge_kept(
    against: "Against", layer: Layer, limits: Limits, asked: Quantile, number: KeptNumber
) -> tuple[Reason, tuple[float, float]]:
    """Judge a layer by the ratio of a number to the parent's: the reason and its p-values."""
    said = "min" if asked.q == 0 else f"q={asked.q:g}"
    quantity = f"{number.words} kept ({said}{', normalized' if asked.normalized else ''})"
    if reason := lost_rows(against, layer, quantity, limits.low):
        return reason, (1.0, 0.0)
    n = len(against.child.target.prompts)
    if n < FEWEST:
        raise OptionError(f"{n} prompts: at least {FEWEST} are needed to compare two models")
    kept = number.kept(against, layer, asked)
    own, parents = (number.of(one, asked) for one in against.geometries(layer))
    interval = kept.interval(asked.confidence or _CONFIDENCE)
    bound, relation = _nearer(kept.value, limits)
    reason = Reason(
        where=layer_id(layer),
        status=Status.PASS if limits.low <= kept.value <= limits.high else Status.FAIL,
        quantity=quantity,
        value=kept.value,
        bound=bound,
        relation=relation,
        evidence=(
            (
                f"{show(own)}, the parent's {show(parents)}; N = {n}; accepted from"
                f" {show(limits.low)} to {show(limits.high)} times the parent's"
            ),
        ),
        interval=interval,
        would_pass=_would_pass(kept.value),
        figures={"model": own, "reference": parents, "at_least": limits.low}
        | ({} if math.isinf(limits.high) else {"at_most": limits.high}),
    )
    if asked.confidence is None:
        return reason, (1.0, 1.0)
    return reason, kept.p_values(limits.low, limits.high)


def _nearer(value: float, limits: Limits) -> tuple[float, Relation]:
    """The limit that the value violates or, within both, is nearer to."""
    if value > 0 and value * value > limits.low * limits.high:
        return limits.high, "<="
    return limits.low, ">="


def _would_pass(value: float) -> str:
    if not 0.0 < value < math.inf:
        return "no limits: a margin or constant of 0 has no share of another"
    if value < 1.0:
        return f"fraction of at most {show_down(value)}"
    return f"at_most of at least {show_up(value)}"
