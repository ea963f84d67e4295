import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.plan.capture_work import capture_passes
from pytest_injectivity.states.capture import capture
from pytest_injectivity.testing import tiny_decoder


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    """A tiny model with room for long prompts."""
    return tiny_decoder("gpt2", vocab=64, context=128, layers=1)


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 40),
    batch_tokens=st.sampled_from([64, 256, 4096]),
)
def test_passes_are_those_of_a_capture(
    decoder: Decoder, seed: int, count: int, batch_tokens: int
) -> None:
    """Of prompts of any lengths, the token-forwards predicted are those that a capture counts."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 120, count)
    prompts = [tuple(generator.integers(0, 64, length).tolist()) for length in lengths]
    passes = capture_passes(prompts, batch_tokens=batch_tokens, context=128)
    captured = capture(decoder, prompts, [1], batch_tokens=batch_tokens)
    assert captured.token_forwards == passes.tokens


def test_a_shared_beginning_is_counted_once(decoder: Decoder) -> None:
    """Prompts with a long beginning in common run it once, as a capture does."""
    beginning = tuple(range(64)) + tuple(range(32))
    prompts = [(*beginning, one) for one in range(50)]
    passes = capture_passes(prompts, batch_tokens=4096, context=128)
    captured = capture(decoder, prompts, [1])
    assert captured.shared_tokens
    assert captured.token_forwards == passes.tokens
