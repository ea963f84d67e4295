"""The gate of a model: is it injective on these prompts, and by what margin?

Copy this folder, keep the tests that matter to you, and set the thresholds from a run on a model you
trust: every failure names the tolerance that would have passed. README.md says why these.
"""

# Two prompts nearer than this share of the layer's mean norm count as one.
EPS = "1e-5 rel"

# 1 % quantiles in units of the mean norm: about half of what the shipped model has.
MARGIN = 0.025
COLIPSCHITZ = 5e-4

# Activations are rounded to each of these; down to the second all prompts must stay apart.
LADDER = (8, 7, 6, 5, 4, 3, 2)
BITS_WITHOUT_COLLISIONS = 5


def test_no_collisions(injx, injx_layer):
    """No two prompts share a state, or come nearer than EPS."""
    injx.assert_no_collisions(injx_layer, eps=EPS)


def test_separation_margin(injx, injx_layer):
    """99 % of the prompts keep a distance from every other one."""
    injx.assert_margin_above(injx_layer, MARGIN, normalized=True)


def test_co_lipschitz_constant(injx, injx_layer):
    """States move with the prompt: so much for every token that differs."""
    injx.assert_colipschitz_above(injx_layer, COLIPSCHITZ, normalized=True)


def test_tokens_are_distinct(injx):
    """No two tokens of the whole vocabulary share a state where no prompt is needed."""
    injx.assert_one_step_distinct()


def test_prompts_are_recovered(injx):
    """SipIt reads 20 prompts of 20 tokens back from the first, middle and last layer."""
    middle = max(1, injx.n_layers // 2)
    injx.assert_sipit_recovers([1, middle, -1], certify=20)


def test_rounded_activations(injx, injx_layer):
    """Rounding the activations makes no collision down to the bits allowed; the table shows all."""
    for bits in LADDER:
        injx.geometry(injx_layer, bits=bits)
        if bits >= BITS_WITHOUT_COLLISIONS:
            injx.assert_no_collisions(injx_layer, bits=bits)
