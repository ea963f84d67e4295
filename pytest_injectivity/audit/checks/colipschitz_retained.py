"""Judges whether a layer's co-Lipschitz constant is close to the parent's, from both sides."""

from typing import TYPE_CHECKING

from pytest_injectivity.audit.judging.arguments import REQUIRED, at_least
from pytest_injectivity.audit.judging.base import Audited, against_reference, by_layer, compared
from pytest_injectivity.audit.judging.common import settled
from pytest_injectivity.audit.judging.quantiles import Quantile, quantile
from pytest_injectivity.audit.judging.retained import KeptNumber, Limits, judge_kept, off_one
from pytest_injectivity.core.layers import Layer, LayerSpec
from pytest_injectivity.core.tolerances import PerLayer
from pytest_injectivity.results.verdict import Reason, Verdict

if TYPE_CHECKING:
    from pytest_injectivity.audit.comparisons.against import Against


def check_colipschitz_retained(
    audit: "Audited",
    layer: LayerSpec | None = None,
    fraction: PerLayer[float] = REQUIRED,
    *,
    at_most: float | None = None,
    q: float = 0.01,
    normalized: bool = False,
    confidence: float | None = None,
) -> Verdict:
    """The co-Lipschitz constant ``alpha_{l,q}`` is neither much less nor more than the parent's.

    Args:
        audit: the audit whose model is judged.
        layer: the layers judged.
        fraction: the least share of the parent's constant that is accepted, above 0.
        at_most: the largest share accepted; None: ``1 / fraction``; ``math.inf``: no limit.
        q: the lower quantile of the rows' smallest ratios; 0 is their minimum.
        normalized: compare the constants divided by each model's mean norm.
        confidence: judge what the sample proves instead of the point value.

    Raises:
        LayerError: the model has no such layer.
        OptionError: a number is not accepted, no reference is named, it is no parent, or fewer
            than two prompts have an admissible partner.

    Example:
        >>> coarse = audit.in_precision(dtype="bfloat16")
        >>> coarse.check_colipschitz_retained(-1, 0.5).passed
        True
    """
    asked = quantile(q, normalized, confidence, None)
    fractions = by_layer(audit, "fraction", at_least("fraction", fraction), layer)
    limits = {one: Limits.of(share, at_most) for one, share in fractions.items()}
    against = compared(audit, limits)
    judged = [judge_colipschitz_kept(against, one, limits[one], asked) for one in limits]
    reasons = settled(judged, asked.confidence)
    return against_reference(audit, "colipschitz_retained", limits, reasons, off_one)


def judge_colipschitz_kept(
    against: "Against", layer: Layer, limits: Limits, asked: Quantile
) -> tuple[Reason, tuple[float, float]]:
    """The reason a layer contributes to ``colipschitz_retained``, and its p-values."""
    return judge_kept(against, layer, limits, asked, _COLIPSCHITZ)


_COLIPSCHITZ = KeptNumber(
    "co-Lipschitz kept",
    lambda against, layer, asked: against.colipschitz_kept(
        layer, asked.q, normalized=asked.normalized
    ),
    lambda geometry, asked: geometry.colipschitz(asked.q, normalized=asked.normalized),
)
