"""Sweeps of a release over its strength, to find where privacy and utility both hold."""

from collections.abc import Iterable
from typing import Unpack

from pytest_injectivity.audit.judging.arguments import share_at_least, share_at_most
from pytest_injectivity.audit.judging.base import Audited
from pytest_injectivity.audit.judging.hidden import is_hidden
from pytest_injectivity.audit.judging.releases import is_useful
from pytest_injectivity.audit.releases.release_size import SizeOptions
from pytest_injectivity.config.release_spec import filled
from pytest_injectivity.results.releases import CurvePoint, PrivacyCurve
from pytest_injectivity.stats import check_confidence


def sweep(
    audit: Audited,
    release: str,
    strengths: Iterable[float | str],
    *,
    max_token_rate: float,
    min_agreement: float,
    confidence: float = 0.95,
    **size: Unpack[SizeOptions],
) -> PrivacyCurve:
    """Measure a release at several strengths, to find those at which privacy and utility both hold.

    Args:
        audit: the audit whose model is released.
        release: a text with ``?`` where the strength stands: ``"gaussian(sigma=? rel)@4"``.
        strengths: numbers or texts.
        max_token_rate: as for `check_not_recoverable`, judged on upper bounds.
        min_agreement: as for `check_utility_kept`, judged on the point value.
        confidence: the level of the bounds.
        size: how many prompts and tokens are measured; see `SizeOptions`.

    Raises:
        OptionError: a number, the text or a strength is not accepted.
        LayerError: the model has no such layer.
        ModelError: the model caches no keys and values.
    """
    max_token_rate = share_at_most("max_token_rate", max_token_rate)
    min_agreement = share_at_least("min_agreement", min_agreement)
    check_confidence(confidence)
    given = [str(one) for one in strengths]
    found = audit.releases.exposures([filled(release, one) for one in given], **size)
    summaries = [one.summary(confidence) for one in found]
    return PrivacyCurve(
        release=release,
        subject=audit.run_summary().subject,
        max_token_rate=float(max_token_rate),
        min_agreement=float(min_agreement),
        confidence=confidence,
        points=tuple(
            CurvePoint(strength, one, is_hidden(one, max_token_rate), is_useful(one, min_agreement))
            for strength, one in zip(given, summaries, strict=True)
        ),
    )
