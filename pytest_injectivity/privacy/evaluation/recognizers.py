"""Finds named spans by the recognizers of presidio-analyzer, where it is installed (extra ``presidio``).

They are its recognizers of patterns that are of no country: credit cards by their check digit, bank
accounts, dates, e-mail, network, web and wallet addresses, telephone numbers. No language model is
loaded, so names of persons and places are not among them, and words around a span raise no score.
Nothing is downloaded.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from pytest_injectivity.core.versions import installed_version
from pytest_injectivity.privacy.evaluation.spans import Span

# Presidio's scores below this are of patterns that most texts have.
_LEAST_SCORE = 0.4


def recognized_spans(text: str) -> tuple[Span, ...]:
    """The spans of a text, in order and without overlaps, by presidio's names of kinds.

    Args:
        text: the true text.

    Returns:
        The spans; none where presidio-analyzer is not installed.
    """
    if installed_version("presidio-analyzer") is None:
        return ()
    found = [
        (-one.score, one.start, one.end, one.entity_type)
        for recognizer in _recognizers()
        for one in recognizer.analyze(text, recognizer.supported_entities, None)
        if one.score >= _LEAST_SCORE
    ]
    taken = np.zeros(len(text), dtype=bool)
    spans = []
    for _, start, end, kind in sorted(found):
        if start < end and not taken[start:end].any():
            taken[start:end] = True
            spans.append(Span(kind, start, end))
    return tuple(sorted(spans, key=lambda span: span.start))


@cache
def _recognizers() -> Sequence[Any]:
    """Presidio's recognizers, of which none asks a network."""
    from presidio_analyzer import predefined_recognizers as presidio
    from tldextract import TLDExtract

    # By default a list of domains is downloaded; one comes with the library.
    domains = TLDExtract(suffix_list_urls=(), cache_dir=None)
    email: Any = presidio.EmailRecognizer()
    email.validate_result = lambda text: bool(domains(text).fqdn)
    return (
        presidio.CreditCardRecognizer(),
        presidio.CryptoRecognizer(),
        presidio.DateRecognizer(),
        email,
        presidio.IbanRecognizer(),
        presidio.IpRecognizer(),
        presidio.MacAddressRecognizer(),
        presidio.PhoneRecognizer(),
        presidio.UrlRecognizer(),
    )
