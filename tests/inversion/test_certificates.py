"""Certificates against brute force, and how many positions get one."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pytest_injectivity.inversion.certificates import Certifier
from pytest_injectivity.inversion.own_states import observe
from pytest_injectivity.inversion.recovery import Outcome, Recovery, Status, Work
from pytest_injectivity.inversion.sipit import recover, recover_all
from pytest_injectivity.inversion.token_classes import token_classes
from pytest_injectivity.inversion.verifiers import Tolerances
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import additive_decoder, plant_equal_embeddings, tiny_decoder
from tests.inversion.observing import drawn, observed
from tests.repetitions import mostly_slow

Floor = Callable[[Tensor], float]


def _certifier(decoder: Decoder, eps: float, block_elements: int = 2**22) -> Certifier:
    def no_rest(_states: Tensor, _ids: tuple[int, ...]) -> tuple[Outcome, ...]:
        raise AssertionError("nothing follows")

    return Certifier(
        decoder,
        2,
        tolerances=Tolerances.of("ball", eps, None, 4.0),
        classes=token_classes(decoder),
        work=Work(),
        rest=no_rest,
        block_elements=block_elements,
    )


@pytest.mark.parametrize("block_elements", [1, 16 * 7, 16 * 63, 2**22])
def test_a_certificate_is_that_of_brute_force(block_elements: int, floor: Floor) -> None:
    """Whatever the blocks: the margin over one token of each class, by whole prompts."""
    decoder = plant_equal_embeddings(tiny_decoder("llama"), kept=3, copied=40)
    ids = (9, 3, 7, 5)
    states = observed(decoder, ids, 2)
    accepted = Outcome(
        3, Status.ACCEPTED, token=5, residual=0.0, eps=0.1, away=0.0, tried=2, rank=1
    )
    found = _certifier(decoder, floor(states), block_elements).outcome(ids[:3], states[3], accepted)
    whole = torch.tensor([[*ids[:3], token] for token in range(64) if token != 40])
    table = decoder.states(whole, [2])[2][:, -1].double()
    apart = torch.linalg.vector_norm(table - table[5], dim=1)
    apart[5] = torch.inf
    assert float(apart.min()) == pytest.approx(found.margin, rel=1e-4)
    assert (Status.CERTIFIED, 5, (), 2, 1) == (
        found.status,
        found.token,
        found.rivals,
        found.tried,
        found.rank,
    )


def test_blocks_change_nothing(floor: Floor) -> None:
    """Not the last bit, where the candidates have a row each."""
    decoder, ids = tiny_decoder("mamba"), (9, 3, 7)
    states = observed(decoder, ids, 2)
    accepted = Outcome(
        2, Status.ACCEPTED, token=7, residual=0.0, eps=0.1, away=0.0, tried=1, rank=0
    )
    found = {
        _certifier(decoder, floor(states), size).outcome(ids[:2], states[2], accepted)
        for size in (16 * 16, 16 * 32, 2**22)
    }
    assert 1 == len(found)


@pytest.mark.parametrize("policy", ["lens", "random"])
def test_a_nearer_token_takes_the_place_of_the_one_accepted(policy: str) -> None:
    """At every certified position, and what follows is inverted behind it; eps lets in two tokens."""
    rows = torch.zeros(64, 16)
    rows[:, 0] = torch.arange(64.0)
    decoder = additive_decoder(rows, torch.zeros(8, 16))
    prompts = drawn(5, 8)
    states = [observed(decoder, ids, 1) for ids in prompts]
    found = recover_all(decoder, states, 1, eps=1.5, policy=policy, certify=40)
    assert list(prompts) == [one.ids for one in found.recoveries]
    assert {Status.AMBIGUOUS: 40} == found.statuses


@pytest.mark.parametrize("policy", mostly_slow(["lens", "random", "lm-order"], "lens", "random"))
def test_by_default_certificates_cost_what_the_recovery_did(policy: str, floor: Floor) -> None:
    """The last one begun may go beyond it; the first positions, looked up in a table, are free."""
    decoder, prompts = tiny_decoder("llama", vocab=300), drawn(5, 6, vocab=300)
    states = [observed(decoder, ids, 2) for ids in prompts]
    eps = max(map(floor, states))
    found = recover_all(decoder, states, 2, eps=eps, policy=policy)
    assert all(map(Recovery.exact, found.recoveries, prompts))
    budget = found.forwards + found.shared
    assert 300 <= found.shared
    assert found.certificates < budget + 300 + 6
    # A search at random costs about as much as all certificates: then every position has one.
    assert len(found.sample) == 30 or found.certificates >= budget
    assert (len(found.sample) < 30) is (policy == "lens") or policy == "lm-order"
    every = recover_all(decoder, states, 2, eps=eps, policy=policy, certify=30)
    assert found.sample == every.sample[: len(found.sample)]
    again = recover_all(decoder, states, 2, eps=eps, policy=policy)
    assert (found.sample, found.certificates) == (again.sample, again.certificates)


def test_at_least_one_position_is_certified(floor: Floor) -> None:
    """However little the recovery cost."""
    decoder = tiny_decoder("llama", vocab=3000)
    states = observed(decoder, (5, 9), 2)
    found = recover_all(decoder, [states], 2, eps=floor(states))
    assert 1 <= len(found.sample)


@pytest.mark.slow
def test_at_most_a_hundred_positions_are_certified(floor: Floor) -> None:
    """However much it cost; a number asked for is done as asked."""
    decoder, prompts = tiny_decoder("gpt2", vocab=8), drawn(15, 8, vocab=8)
    states = [observed(decoder, ids, 2) for ids in prompts]
    eps = max(map(floor, states))
    by_default = recover_all(decoder, states, 2, eps=eps, policy="random")
    assert 100 == len(by_default.sample)
    asked = recover_all(decoder, states, 2, eps=eps, policy="random", certify=110)
    assert 110 == len(asked.sample)
    assert 0 == len(recover_all(decoder, states, 2, eps=eps, certify=0).sample)


def test_a_position_without_an_answer_costs_nothing(floor: Floor) -> None:
    """It is drawn like the others, and stays as it is."""
    decoder, ids = tiny_decoder(), (5, 1, 8, 2)
    states = observe(decoder, ids, [1])[1]
    eps = floor(states)
    states[1] = torch.nan
    found = recover(decoder, states, 1, eps=eps, certify=True)
    told = [outcome.status for outcome in found.outcomes]
    assert [Status.CERTIFIED, Status.NOT_FINITE, Status.NOT_REACHED, Status.NOT_REACHED] == told
