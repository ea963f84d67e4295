"""Judges whether a layer's co-Lipschitz constant is close to the parent's, from both sides."""

from pytest_injectivity.audit.judging.arguments import REQUIRED, at_least
from pytest_injectivity.audit.judging.base import Audited, by_layer
from pytest_injectivity.audit.judging.quantiles import quantile
from pytest_injectivity.audit.judging.retained import COLIPSCHITZ, verdict_of_kept
from pytest_injectivity.core.layers import LayerSpec
from pytest_injectivity.core.tolerances import PerLayer
from pytest_injectivity.results.verdict import Verdict


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
    shares = by_layer(audit, "fraction", at_least("fraction", fraction), layer)
    return verdict_of_kept(
        audit, "colipschitz_retained", COLIPSCHITZ, shares, asked, at_most=at_most
    )
