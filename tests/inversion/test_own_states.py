"""The states that SipIt inverts are the model's, evaluated as capture evaluates them."""

import pytest
import torch

from pytest_injectivity.inversion.own_states import observe
from pytest_injectivity.testing import tiny_decoder

IDS = (9, 3, 7, 5, 11, 40, 2, 8, 1, 33, 12, 60)


def test_a_prompt_is_observed_in_a_width_of_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention among a few tokens rounds in a way of its own: twelve are sixteen."""
    decoder = tiny_decoder("llama")
    asked = []
    run = decoder.states
    monkeypatch.setattr(
        decoder, "states", lambda ids, layers: asked.append(ids.shape) or run(ids, layers)
    )
    found = observe(decoder, IDS, [1, 2])
    assert [(1, 16)] == asked
    assert {1: (12, 16), 2: (12, 16)} == {one: tuple(rows.shape) for one, rows in found.items()}
    whole = run(torch.tensor([IDS]), [2])[2][0]
    torch.testing.assert_close(found[2], whole)


def test_a_prompt_that_fills_the_context_is_not_padded() -> None:
    """There is no room for more tokens."""
    decoder = tiny_decoder("gpt2", context=12)
    assert 12 == len(observe(decoder, IDS, [1])[1])
