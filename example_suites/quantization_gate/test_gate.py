"""The gate of a model: is it injective on these prompts, and by what margin?

Copy this folder, keep the tests that matter to you, and set the thresholds from a run on a model you
trust: every failure names the tolerance that would have passed. README.md says why these.
"""

import pytest

# Two prompts nearer than this share of the layer's mean norm count as one.
EPS = "1e-5 rel"

# 1 % quantiles in units of the mean norm: about half of what the shipped model has.
MARGIN = 0.02
COLIPSCHITZ = 1e-4

# Activations rounded to so many bits must keep all prompts apart; below, collisions may begin.
BITS_WITHOUT_COLLISIONS = 5
LADDER = (8, 7, 6, 5, 4, 3, 2)


def test_no_collisions(injx, injx_layer):
    """No two prompts share a state, or come nearer than EPS."""
    injx.assert_no_collisions(injx_layer, eps=EPS)


def test_separation_margin(injx, injx_layer):
    """99 % of the prompts keep a distance from every other one."""
    injx.assert_margin_above(injx_layer, MARGIN, normalized=True)


def test_co_lipschitz_constant(injx, injx_layer):
    """States move with the prompt: so much for every token that differs."""
    injx.assert_colipschitz_above(injx_layer, COLIPSCHITZ, normalized=True)


def test_prompts_are_recovered(injx):
    """SipIt reads 20 prompts of 20 tokens back from the first, middle and last layer."""
    middle = max(1, injx.decoder.n_layers // 2)
    injx.assert_sipit_recovers([1, middle, -1])


@pytest.mark.parametrize("bits", LADDER)
def test_rounded_activations(injx, injx_layer, bits):
    """Rounding the activations makes no collision down to the bits allowed; the table shows all."""
    verdict = injx.check_no_collisions(injx_layer, bits=bits)
    if bits >= BITS_WITHOUT_COLLISIONS:
        verdict.require()
