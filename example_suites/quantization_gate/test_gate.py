"""The gate of a model: is it injective on these prompts, and by what margin?

Keep the tests that matter to you. The thresholds are in pytest.ini; `pytest-injectivity calibrate` makes
them from models you trust, and every failure names the tolerance that would have passed.
"""

# Activations are rounded to each of these; down to gate_bits all prompts must stay apart.
LADDER = (8, 7, 6, 5, 4, 3, 2)


def test_no_collisions(injx, injx_layer, pytestconfig):
    """No two prompts share a state, or come nearer than gate_eps."""
    injx.assert_no_collisions(injx_layer, eps=pytestconfig.getini("gate_eps"))


def test_separation_margin(injx, injx_layer, threshold):
    """99 % of the prompts keep a distance from every other one."""
    injx.assert_margin_above(injx_layer, threshold("gate_margin", injx), normalized=True)


def test_co_lipschitz_constant(injx, injx_layer, threshold):
    """States move with the prompt: so much for every token that differs."""
    injx.assert_colipschitz_above(injx_layer, threshold("gate_colipschitz", injx), normalized=True)


def test_tokens_are_distinct(injx):
    """No two tokens of the whole vocabulary share a state where no prompt is needed."""
    injx.assert_one_step_distinct()


def test_prompts_are_recovered(injx):
    """SipIt reads 20 prompts of 20 tokens back from the first, middle and last layer."""
    middle = max(1, injx.n_layers // 2)
    injx.assert_sipit_recovers([1, middle, -1], certify=20)


def test_rounded_activations(injx, injx_layer, threshold):
    """Rounding the activations makes no collision down to the bits allowed; the table shows all."""
    for bits in LADDER:
        injx.geometry(injx_layer, bits=bits)
        if bits >= threshold("gate_bits", injx):
            injx.assert_no_collisions(injx_layer, bits=bits)
