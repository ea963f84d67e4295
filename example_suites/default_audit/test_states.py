"""States captured elsewhere (--injx-states): whether they are this model's, and are read by it."""

import pytest


@pytest.fixture
def exact(injx):
    """Skips where it is not said what the states are of, or where it is said that they are not exact."""
    for states in injx.measurements.external_states:
        if states.ids is None:
            pytest.skip("the file has no ids: what its states are of cannot be checked")
        if states.observation_error is not None:
            pytest.skip(
                "the file says how far its states are off: the model's own are not asked for"
            )


@pytest.mark.usefixtures("exact")
def test_states_are_the_audited_models(injx):
    """What is served was audited: another layer, dtype, cache of keys and values or model is named."""
    injx.assert_served_as_audited()


@pytest.mark.usefixtures("exact")
def test_no_two_prompts_share_a_served_state(injx):
    """No two prompts have equal last states; those of embeddings are the last tokens' own."""
    served = injx.measurements.served
    layers = [layer for layer in served.layers if layer != 0]
    if not layers or len(served.ids) < 2:
        pytest.skip("there are no two prompts with states of a block")
    injx.assert_served_no_collisions(layers)


def test_states_are_read(injx):
    """The prompts of the file are read back; states of another model or layer are recognized."""
    injx.assert_states_recoverable()
