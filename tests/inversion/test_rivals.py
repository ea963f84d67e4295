"""Ambiguous answers and their rivals are told apart by evaluation, or stay ambiguous."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from pytest_injectivity.errors import OptionError
from pytest_injectivity.inversion.recovery import Outcome, Recovery, Status
from pytest_injectivity.inversion.rivals import Rivals
from pytest_injectivity.inversion.sipit import recover, recover_all
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.scaled import Scale, Scales
from pytest_injectivity.testing import plant_equal_embeddings, tiny_decoder
from tests.inversion.observing import drawn, observed

IDS = (9, 3, 7, 5)
LAYER = 2


def _scales(decoder: Decoder, sigma: float = 1.0) -> Scales:
    scale = Scale(np.full(decoder.hidden_size, sigma))
    return Scales(scale, scale)


def _ambiguous(states: Tensor, at: int, token: int, *rivals: int, near: int = 0) -> Recovery:
    """A recovery of `IDS` whose answer at one position has rivals."""
    outcomes = [
        Outcome(position, Status.ACCEPTED, token=IDS[position], away=0.0)
        for position in range(len(states))
    ]
    outcomes[at] = replace(
        outcomes[at], status=Status.AMBIGUOUS, token=token, rivals=rivals, near=near
    )
    return Recovery((), tuple(outcomes), 0.0)


def _settled(recovery: Recovery, decoder: Decoder, states: Tensor, at: int) -> Outcome:
    found = Rivals(decoder, LAYER, _scales(decoder)).settled(states, recovery)
    others = [one for one in found.outcomes if one.position != at]
    assert others == [one for one in recovery.outcomes if one.position != at]
    return found.outcomes[at]


@pytest.mark.parametrize("at", [0, 2])
def test_rivals_that_evaluation_resolves_are_none(at: int) -> None:
    """The answer is accepted, at position 0 and behind a prefix, and what was evaluated is counted."""
    decoder = tiny_decoder("llama")
    states = observed(decoder, IDS, LAYER)
    found = _settled(_ambiguous(states, at, IDS[at], 11, 40), decoder, states, at)
    assert (found.status, found.token, found.rivals, found.told_apart) == (
        Status.ACCEPTED,
        IDS[at],
        (),
        2,
    )


def test_an_answer_of_the_whole_vocabulary_is_certified() -> None:
    """Where a margin is known the whole vocabulary was compared."""
    decoder = tiny_decoder("llama")
    states = observed(decoder, IDS, LAYER)
    recovery = _ambiguous(states, 0, IDS[0], 11)
    first = replace(recovery.outcomes[0], margin=1.0)
    recovery = replace(recovery, outcomes=(first, *recovery.outcomes[1:]))
    assert _settled(recovery, decoder, states, 0).status is Status.CERTIFIED


def test_a_rival_with_equal_states_stays() -> None:
    """Equal bits are a collision: the answer stays ambiguous beside this rival alone."""
    decoder = plant_equal_embeddings(tiny_decoder("llama"), kept=3, copied=40)
    states = observed(decoder, IDS, LAYER)
    found = _settled(_ambiguous(states, 1, 3, 40, 11), decoder, states, 1)
    assert (found.status, found.rivals, found.told_apart) == (Status.AMBIGUOUS, (40,), 1)


@pytest.mark.parametrize("at", [0, 2])
def test_a_wrong_answer_is_not_made_sure(at: int) -> None:
    """The observed state counts as the answer's, so that the truth, nearer to it, stays a rival."""
    decoder = tiny_decoder("llama")
    states = observed(decoder, IDS, LAYER)
    found = _settled(_ambiguous(states, at, 11, IDS[at]), decoder, states, at)
    assert (found.status, found.token, found.rivals) == (Status.AMBIGUOUS, 11, (IDS[at],))


def test_rivals_that_are_not_listed_keep_it_ambiguous() -> None:
    """More tokens within the radius than are listed: nothing is said of those that are not."""
    decoder = tiny_decoder("llama")
    states = observed(decoder, IDS, LAYER)
    recovery = _ambiguous(states, 0, IDS[0], 11, near=2)
    assert _settled(recovery, decoder, states, 0) == recovery.outcomes[0]


@pytest.mark.parametrize("policy", ["lens", "random"])
def test_a_wide_radius_is_ambiguous_without_evaluation_only(policy: str) -> None:
    """A radius of the size of the margin: nothing is recovered by it alone, everything by evaluation."""
    decoder, scales = tiny_decoder("llama"), _scales(tiny_decoder("llama"), 1e-6)
    prompts = drawn(4, 5)
    states = [observed(decoder, ids, LAYER) for ids in prompts]
    table = decoder.states(torch.arange(64)[:, None], [LAYER])[LAYER][:, 0].double()
    apart = torch.cdist(table, table) + torch.diag(torch.full((64,), torch.inf))
    # No rival of a first token is within the radius, one of each is within three.
    eps = float(apart[[ids[0] for ids in prompts]].min()) / 1.01 / 1e-6
    exact = {}
    for evaluate in (False, True):
        found = recover_all(
            decoder,
            states,
            LAYER,
            eps=(eps, 1.0),
            scales=scales,
            policy=policy,
            certify=0,
            evaluate=evaluate,
        )
        pairs = zip(found.recoveries, prompts, strict=True)
        exact[evaluate] = sum(one.exact(ids) for one, ids in pairs)
    assert exact == {False: 0, True: 4}
    assert found.told_apart > 0


def test_evaluation_needs_scales() -> None:
    """Without the resolution of each coordinate there is nothing to decide by."""
    decoder = tiny_decoder("llama")
    with pytest.raises(OptionError, match="evaluate=True needs scales"):
        recover(decoder, observed(decoder, IDS, LAYER), LAYER, eps=1.0, evaluate=True)


def test_evaluation_needs_a_verifier_that_accepts() -> None:
    """The nearest candidate whatever its distance is not verified by having no rival."""
    decoder = tiny_decoder("llama")
    states, scales = observed(decoder, IDS, LAYER), _scales(decoder)
    with pytest.raises(OptionError, match="needs scales and the verifier ball"):
        recover(decoder, states, LAYER, eps=1.0, scales=scales, verifier="argmin", evaluate=True)
