"""KV-cache transfer: prefill here, decoding there. What can whoever holds a cache read?

Keys alone, values alone, and both, of the first and the last block; as they are, stored in 8 bits,
rounded, and with noise.
"""

import pytest
from conftest import CURVE

SIDES = ("keys", "values", "kv")
RELEASES = ("identity", "cast(fp8)", "round(bits=4)", "gaussian(sigma=1 rel)")


@pytest.fixture(scope="session")
def measured(injx, cuts):
    """All of them in one walk: by text."""
    ends = sorted({cuts[0], cuts[-1]})
    texts = [f"{one}@{cut} {side}" for cut in ends for side in SIDES for one in RELEASES]
    found = injx.exposures(texts, **CURVE)
    return {text: one.summary(0.95) for text, one in zip(texts, found, strict=True)}


def test_a_cache_is_its_prompt(measured):
    """Keys alone, or values alone, give every token back."""
    for text, found in measured.items():
        if text.startswith("identity"):
            assert found.strongest.tokens.right == found.strongest.tokens.of, text


def test_a_cache_sent_as_it_is_is_of_full_use(measured):
    """The next token is the same, read behind it."""
    for text, found in measured.items():
        if text.startswith("identity"):
            assert found.agreement.value == 1.0, text


def test_a_cache_in_8_bits_hides_nothing(measured):
    """What saves storage is no protection."""
    for text, found in measured.items():
        if text.startswith("cast(fp8)"):
            assert found.strongest.tokens.value > 0.9, text
