"""The gate of a quantized model: what did it lose of its parent, and at which layer first?

Of the shipped model every precision in conftest.py is held against it; of yours the one that is named,
against --injx-reference. A failure's first line names the first bad layer. The thresholds are in
pytest.ini.
"""

import pytest


def test_function_is_the_parents(child):
    """Rotary embeddings, eps, activation, windows, context, tokenizer and chat template are equal."""
    child.assert_same_function()


def test_is_quantized(child, most_bits):
    """What was proved of the weights, block by block; there with --must-be-quantized=BITS alone."""
    child.assert_quantized(bits=most_bits)


def test_weights_are_the_parents(child, bound):
    """Each tensor is the parent's, rounded to the bits that were proved; a wrong scale is named."""
    child.assert_weight_error_below(relative=bound("gate_weight_error", child))


def test_blocks_do_what_the_parents_do(child, bound):
    """Each block on the parent's states, the embeddings and the head too: an error is its own."""
    child.assert_block_error_below(relative=bound("gate_block_error", child))


def test_states_stay_near_the_parents(child, threshold):
    """What is lost adds up over the blocks: the whole of it."""
    child.assert_state_drift_below(relative=threshold("gate_drift", child))


@pytest.mark.usefixtures("one_line")
def test_next_tokens_are_the_parents(child, threshold):
    """Of all checks the one that looks at the head: KL in nats and top-1 agreement."""
    child.assert_next_token_kept(
        kl=threshold("gate_kl", child), top1=threshold("gate_top1", child), prompts=100
    )


def test_margin_is_kept(child, threshold):
    """Neither much less nor much more: a broken block may raise it."""
    child.assert_margin_retained(fraction=threshold("gate_margin_kept", child))


def test_co_lipschitz_constant_is_kept(child, threshold):
    """Likewise, for every token that differs."""
    child.assert_colipschitz_retained(fraction=threshold("gate_colipschitz_kept", child))


def test_no_two_prompts_are_equal(child):
    """Not one pair of prompts has equal states, bit by bit."""
    equal = {layer: child.geometry(layer).equal.pairs for layer in child.layers}
    assert dict.fromkeys(child.layers, 0) == equal


def test_no_new_collisions(child):
    """No pair that the parent tells apart collides; at layer 0 no pair of tokens."""
    child.assert_no_new_collisions()


def test_tokens_stay_distinct(child):
    """No two tokens of the whole vocabulary share a state where no prompt is needed."""
    child.assert_one_step_distinct()


def test_prompts_stay_recoverable(child):
    """SipIt reads 20 prompts of 20 tokens back from the last layer."""
    child.assert_sipit_recovers(-1, certify=20)
