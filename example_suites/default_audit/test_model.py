"""What the theorem claims of every model is judged; numbers that need a bound of yours are measured."""

import pytest

# Activations are rounded to each of these for the table; no bound is set on what it shows.
LADDER = (8, 6, 4, 3, 2)


def test_no_two_prompts_collide(injx, injx_layer):
    """No two prompts share a state, or are too near to be told apart."""
    injx.assert_no_collisions(injx_layer)


@pytest.fixture
def looked_at(injx):
    """The first, middle and last layer, for what takes passes over the whole vocabulary."""
    return [1, max(1, injx.n_layers // 2), -1]


def test_tokens_are_distinct(injx, looked_at):
    """No two tokens of the whole vocabulary share an embedding row, or a state of these layers."""
    injx.assert_one_step_distinct([0, *looked_at])


def test_prompts_are_recovered(injx, looked_at):
    """SipIt reads 20 prompts of 20 tokens back from these layers.

    Of short prompts it reads as many tokens as half of them have, and of a small set fewer prompts.
    """
    lengths = sorted(map(len, injx.prompts.ids))
    tokens = min(20, lengths[len(lengths) // 2])
    prompts = len(injx.prompts.sample(20, tokens, at_least=1).ids)
    injx.assert_sipit_recovers(looked_at, prompts=prompts, tokens=tokens)


def test_rounded_activations_are_measured(injx, injx_layer):
    """Collisions, margins and constants of rounded states: numbers without a verdict."""
    measured = [injx.layer_summary(injx_layer, bits) for bits in LADDER]
    assert len(LADDER) == len(measured)
