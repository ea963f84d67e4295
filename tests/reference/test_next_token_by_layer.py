"""The divergence of next tokens by layer, held against what is known of it in exact cases."""

import numpy as np
import pytest
import torch

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.reference.errors.turn import Turn
from pytest_injectivity.reference.next_token import compare_next_tokens
from pytest_injectivity.reference.next_token_by_layer import layer_divergences
from pytest_injectivity.testing import double_block, plant_nan, round_weights, tiny_decoder
from tests.rebased import rotated

PROMPTS = [[(7 * row + at * at) % 64 for at in range(2 + 3 * row)] for row in range(4)]
LAYERS: tuple[Layer, ...] = (0, 1, 2, "norm")
FAMILIES = ("gpt2", "llama", "gemma2", "mamba")


def _whole(child: Decoder, parent: Decoder) -> np.ndarray:
    return compare_next_tokens(child, parent, PROMPTS).nats


@pytest.mark.parametrize("family", FAMILIES)
def test_a_divergence_begins_at_the_block_it_comes_from(family: str) -> None:
    """It is 0 before the block, and all of it from the block on."""
    parent = tiny_decoder(family)
    child = double_block(tiny_decoder(family), 2)
    found = layer_divergences(child, parent, PROMPTS, LAYERS).nats
    whole = _whole(child, parent)
    assert whole.max() > 1e-4
    assert np.abs(found[:2]).max() < 1e-9
    assert np.abs(found[2:] - whole).max() < 1e-5 * whole.max()


def test_what_embeddings_do_is_there_from_the_first_layer() -> None:
    """A child whose embeddings alone differ has the whole divergence at layer 0."""
    parent, child = tiny_decoder("llama"), tiny_decoder("llama", tie=False)
    child.embedding_matrix().mul_(1.5)
    found = layer_divergences(child, parent, PROMPTS, LAYERS).nats
    assert np.abs(found - _whole(child, parent)).max() < 1e-5


def test_what_the_head_does_is_at_no_layer() -> None:
    """States are the parent's, and so is the head that they go through."""
    parent, child = tiny_decoder("llama"), tiny_decoder("llama", tie=False)
    head: torch.nn.Linear = child.model.get_output_embeddings()  # type: ignore[operator, assignment]
    head.weight.data.mul_(2.0)
    assert _whole(child, parent).max() > 1e-4
    assert not layer_divergences(child, parent, PROMPTS, LAYERS).nats.any()


def test_a_child_in_another_basis_is_turned_first() -> None:
    """Rotated weights compute the same function: nothing diverges at any layer."""
    parent = tiny_decoder("llama")
    child = rotated(tiny_decoder("llama"))
    own, parents = (one.embedding_matrix().double().numpy() for one in (child, parent))
    stream = np.linalg.lstsq(own, parents, rcond=None)[0]
    turn = Turn(stream, stream)
    layers: tuple[Layer, ...] = (0, 1, 2)
    assert layer_divergences(child, parent, PROMPTS, layers).nats.max() > 1e-4
    assert layer_divergences(child, parent, PROMPTS, layers, turn=turn).nats.max() < 1e-8


def test_positions_are_all_but_the_first_of_each_prompt() -> None:
    """Each has its prompt's index, in the order of prompts."""
    child = round_weights(tiny_decoder("gpt2"), 4)
    found = layer_divergences(child, tiny_decoder("gpt2"), PROMPTS, (1,))
    assert [0, *[1] * 4, *[2] * 7, *[3] * 10] == found.prompt.tolist()
    assert (1, 22) == found.nats.shape


def test_states_that_are_not_finite_have_no_divergence() -> None:
    """A NaN stays one from its layer on."""
    child = plant_nan(tiny_decoder("llama"), 2)
    found = layer_divergences(child, tiny_decoder("llama"), PROMPTS, LAYERS).nats
    assert [False, False, True, True] == np.isnan(found).all(axis=1).tolist()


def test_progress_counts_prompts() -> None:
    """One call a prompt."""
    told: list[int] = []
    child, parent = tiny_decoder("gpt2"), tiny_decoder("gpt2")
    layer_divergences(child, parent, PROMPTS, (1,), progress=told.append)
    assert [1, 2, 3, 4] == told
