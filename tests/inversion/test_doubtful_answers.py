"""Ambiguous answers and those that do not verify are decided by evaluation, or stay what they are."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pytest_injectivity.errors import OptionError
from pytest_injectivity.inversion import doubtful_answers as module
from pytest_injectivity.inversion.doubtful_answers import DoubtfulAnswers
from pytest_injectivity.inversion.recovery import Outcome, Recovery, Status
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
    found = DoubtfulAnswers(decoder, LAYER, _scales(decoder)).settled(states, recovery)
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


def _unverified(states: Tensor, at: int, token: int, margin: float | None = 1.0) -> Recovery:
    """A recovery of `IDS` whose answer at one position is farther from its state than the tolerance."""
    outcomes = [
        Outcome(position, Status.ACCEPTED, token=IDS[position], away=0.0)
        for position in range(len(states))
    ]
    changed = {"status": Status.NEAREST, "token": token, "margin": margin}
    outcomes[at] = replace(outcomes[at], residual=1e-7, away=7.0, eps=1.0, **changed)
    return Recovery((), tuple(outcomes), 0.0)


def _coarse(monkeypatch: pytest.MonkeyPatch, spread: float) -> None:
    """Evaluations of any state differ by so much in one coordinate."""
    run = module.evaluate_last

    def evaluate(*args: Any, **kwargs: Any) -> dict[Any, Tensor]:
        found = run(*args, **kwargs)
        for rows in found.values():
            rows[:, 3, 0] += spread
        return found

    monkeypatch.setattr(module, "evaluate_last", evaluate)


@pytest.mark.parametrize("at", [0, 2])
def test_an_answer_whose_evaluations_are_as_far_apart_verifies(
    at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is as near to an evaluation as they are to each other: it is one of them."""
    decoder = tiny_decoder("llama")
    states = observed(decoder, IDS, LAYER)
    states[at, 1] += 0.01
    recovery = _unverified(states, at, IDS[at])
    assert _settled(recovery, decoder, states, at) == recovery.outcomes[at]
    _coarse(monkeypatch, 0.02)
    found = _settled(recovery, decoder, states, at)
    assert (Status.ACCEPTED, True) == (found.status, found.by_evaluation)
    assert found.away <= found.eps


@pytest.mark.parametrize(
    ("margin", "status"),
    [(0.05, Status.ACCEPTED), (0.03, Status.NEAREST), (None, Status.NEAREST)],
)
def test_an_answer_with_a_near_rival_or_an_unknown_one_does_not_verify_by_evaluation(
    margin: float | None, status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evaluations 0.02 apart do not tell it from a token within 0.04."""
    decoder = tiny_decoder("llama")
    states = observed(decoder, IDS, LAYER)
    _coarse(monkeypatch, 0.02)
    found = _settled(_unverified(states, 2, IDS[2], margin), decoder, states, 2)
    assert status is found.status


def test_a_wrong_token_does_not_verify_by_evaluation() -> None:
    """Its evaluations are near each other, and far from the state."""
    decoder = tiny_decoder("llama")
    states = observed(decoder, IDS, LAYER)
    recovery = _unverified(states, 2, 11, margin=1e9)
    assert _settled(recovery, decoder, states, 2) == recovery.outcomes[2]


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
