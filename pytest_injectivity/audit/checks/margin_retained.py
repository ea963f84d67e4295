"""Judges whether a layer's separation margin is close to the parent's, from both sides."""

from pytest_injectivity.audit.judging.arguments import REQUIRED, at_least
from pytest_injectivity.audit.judging.base import Audited, by_layer
from pytest_injectivity.audit.judging.quantiles import quantile
from pytest_injectivity.audit.judging.retained import MARGIN, verdict_of_kept
from pytest_injectivity.core.layers import LayerSpec
from pytest_injectivity.core.tolerances import PerLayer
from pytest_injectivity.results.verdict import Verdict


def check_margin_retained(
    audit: "Audited",
    layer: LayerSpec | None = None,
    fraction: PerLayer[float] = REQUIRED,
    *,
    at_most: float | None = None,
    q: float = 0.01,
    normalized: bool = False,
    confidence: float | None = None,
) -> Verdict:
    """The separation margin ``m_{l,q}`` is neither much less nor much more than the parent's.

    Args:
        audit: the audit whose model is judged.
        layer: the layers judged.
        fraction: the least share of the parent's margin that is accepted, above 0.
        at_most: the largest share accepted; None: ``1 / fraction``; ``math.inf``: no limit.
        q: the lower quantile of nearest-neighbor distances; 0 is their minimum.
        normalized: compare the margins divided by each model's mean norm.
        confidence: judge what the sample proves instead of the point value.

    Raises:
        LayerError: the model has no such layer.
        OptionError: a number is not accepted, no reference is named, or it is no parent.

    Example:
        >>> coarse = audit.in_precision(dtype="bfloat16")
        >>> coarse.check_margin_retained(-1, 0.5).passed
        True
    """
    asked = quantile(q, normalized, confidence, None)
    shares = by_layer(audit, "fraction", at_least("fraction", fraction), layer)
    return verdict_of_kept(audit, "margin_retained", MARGIN, shares, asked, at_most=at_most)
