"""States and models of which SipIt recovers nothing: not finite, or of another model."""

import pytest
import torch

from pytest_injectivity.inversion.policies import POLICIES
from pytest_injectivity.inversion.recovery import Recovery, Status
from pytest_injectivity.inversion.sipit import recover, recover_all
from pytest_injectivity.testing import (
    plant_nan,
    tiny_decoder,
)
from tests.inversion.observing import IDS, Floor, drawn, observed
from tests.repetitions import mostly_slow


@pytest.mark.parametrize("policy", mostly_slow(POLICIES, "lens", "random"))
def test_a_wrong_model_recovers_nothing(policy: str, floor: Floor) -> None:
    """The states of one set of weights, inverted with another: no position verifies."""
    right, wrong = tiny_decoder("llama", seed=0), tiny_decoder("llama", seed=1)
    prompts = drawn(3, 6)
    states = [observed(right, ids, 2) for ids in prompts]
    eps = max(map(floor, states))
    found = recover_all(wrong, states, 2, eps=eps, policy=policy)
    assert {Status.NEAREST: 18} == found.statuses
    assert not any(recovery.verified for recovery in found.recoveries)
    # The model itself, for comparison.
    own = recover_all(right, states, 2, eps=eps, policy=policy)
    assert all(map(Recovery.exact, own.recoveries, prompts))


def test_a_failed_position_keeps_its_nearest_token_as_prefix(floor: Floor) -> None:
    """What follows is still searched; the prompt has failed, whatever comes after."""
    decoder = tiny_decoder()
    states = observed(decoder, IDS, 1)
    eps = floor(states)
    states[3] += 9 * eps / states.shape[1] ** 0.5
    found = recover(decoder, states, 1, eps=eps)
    assert IDS == found.ids
    assert [3] == [outcome.position for outcome in found.failures]
    assert not found.exact(IDS)


def test_a_state_that_is_not_finite_is_its_own_failure(floor: Floor) -> None:
    """What stood before it is recovered, what comes after has no prefix."""
    decoder = tiny_decoder()
    states = observed(decoder, IDS, 1)
    eps = floor(states)
    states[5, 2] = torch.nan
    found = recover(decoder, states, 1, eps=eps)
    assert (*IDS[:5], None, None, None) == found.ids
    told = [outcome.status for outcome in found.failures]
    assert [Status.NOT_FINITE, Status.NOT_REACHED, Status.NOT_REACHED] == told
    assert 0 == found.outcomes[5].tried


def test_a_model_that_yields_nan_recovers_nothing() -> None:
    """From the layer where it begins; a shallower one is recovered."""
    decoder = plant_nan(tiny_decoder(), 2)
    for layer, expected in ((1, True), (2, False)):
        found = recover(decoder, observed(decoder, IDS, layer), layer, eps=1e-4)
        assert expected == found.exact(IDS)
    assert Status.NOT_FINITE == found.outcomes[0].status


def test_finite_states_with_a_model_that_yields_nan_are_not_finite() -> None:
    """No candidate can be judged: no answer, not an arbitrary one."""
    states = observed(tiny_decoder(), IDS, 2)
    found = recover(plant_nan(tiny_decoder(), 2), states, 2, eps=1e-4)
    assert Status.NOT_FINITE == found.outcomes[0].status
    assert found.outcomes[0].token is None


def test_candidates_that_are_not_finite_harm_no_other(floor: Floor) -> None:
    """A token whose embedding is NaN is never the answer."""
    decoder = tiny_decoder()
    states = observed(decoder, IDS, 2)
    decoder.parts.embeddings.weight[63] = torch.nan
    found = recover(decoder, states, 2, eps=floor(states), certify=True)
    assert found.exact(IDS)
    assert all(outcome.status is Status.CERTIFIED for outcome in found.outcomes)
