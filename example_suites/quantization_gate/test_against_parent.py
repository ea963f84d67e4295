"""The gate of a quantized model: what did it lose of its parent, and at which layer first?

Of the shipped model every precision in conftest.py is held against it; of yours the one that is named,
against --injx-reference. A failure's first line names the first bad layer.
"""

# The largest ||h - h'|| / ||h'|| of 99 % of the prompts, h' the parent's: about twice what 16 and 8
# bits do to the shipped model, and for everything coarser what 4 bits may.
DRIFT = {"bfloat16": 0.05, "torchao-int8": 0.05}
MOST_DRIFT = 0.35

# The least share of margin and co-Lipschitz constant kept; 1 / KEPT is the largest.
KEPT = 0.5


def test_states_stay_near_the_parents(child):
    """Of all checks the one that sees a broken block best, and where."""
    facts = child.facts
    precision = child.config.quantization or (None if facts.quantized else facts.dtype)
    child.assert_state_drift_below(relative=DRIFT.get(precision, MOST_DRIFT))


def test_margin_is_kept(child):
    """Neither much less nor much more: a broken block may raise it."""
    child.assert_margin_retained(fraction=KEPT)


def test_co_lipschitz_constant_is_kept(child):
    """Likewise, for every token that differs."""
    child.assert_colipschitz_retained(fraction=KEPT)


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
