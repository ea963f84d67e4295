"""The model beside its parent (--injx-reference): what bits explain is judged, the rest is measured."""


def test_function_is_the_parents(injx):
    """Rotary embeddings, eps, activation, windows, context, tokenizer and chat template are equal."""
    injx.assert_same_function()


def test_weights_are_the_parents(injx):
    """Each tensor is the parent's, rounded to the bits that were proved of it."""
    injx.assert_weight_error_below()


def test_blocks_do_what_the_parents_do(injx):
    """Each block on the parent's states errs by no more than those bits explain."""
    injx.assert_block_error_below()


def test_no_new_collisions(injx):
    """No pair that the parent tells apart collides."""
    injx.assert_no_new_collisions()


def test_what_is_kept_is_measured(injx):
    """Drift, margins and constants kept, next tokens: numbers without a verdict."""
    compared = [injx.comparison(layer) for layer in injx.layers]
    assert len(injx.layers) == len(compared)
    assert injx.next_token(prompts=100).prompts
