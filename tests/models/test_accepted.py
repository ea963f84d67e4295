"""What a model is asked for and does not have."""

import pytest
import torch

from pytest_injectivity.errors import LayerError, PromptError
from pytest_injectivity.models.accepted import Accepted
from pytest_injectivity.testing import tiny_decoder

ACCEPTED = Accepted("a model", 4, 100, 32)


def test_what_the_model_has_is_accepted() -> None:
    """To the last id, token and layer; and no id at all."""
    ids = torch.tensor([[0, 99]])
    assert ids is ACCEPTED.ids(ids)
    assert 0 == ACCEPTED.ids(torch.empty(1, 0, dtype=torch.long)).numel()
    ACCEPTED.length(32)
    ACCEPTED.layers([0, 4, "norm"])
    Accepted("a model", 4, 100, None).length(10**6)


@pytest.mark.parametrize("token", [-1, 100])
def test_an_id_without_a_row_is_refused(token: int) -> None:
    """Both sides."""
    with pytest.raises(PromptError, match=rf"token id {token} .* of a model: ids 0 to 99"):
        ACCEPTED.ids(torch.tensor([[3, token]]))


def test_a_prompt_beyond_the_context_is_refused() -> None:
    """By one token."""
    with pytest.raises(PromptError, match="33 tokens exceeds the context of a model: at most 32"):
        ACCEPTED.length(33)


@pytest.mark.parametrize("layers", [[-1], [5], []])
def test_a_layer_that_is_not_there_is_refused(layers: list[int]) -> None:
    """And none."""
    with pytest.raises(LayerError, match="layer"):
        ACCEPTED.layers(layers)


def test_a_prefix_reaches_as_far_as_it_was_kept() -> None:
    """A pass that continues it goes no deeper."""
    prefix = tiny_decoder("gpt2", layers=2).prefix(torch.tensor([1, 2]), 1)
    ACCEPTED.layers([0, 1], prefix)
    with pytest.raises(LayerError, match=r"layer norm lies deeper than the prefix, .* layer 1"):
        ACCEPTED.layers([1, "norm"], prefix)
