"""How many tokens SipIt tests, in what batches, and which tables it shares."""

from typing import Any

import pytest
from torch import Tensor

from pytest_injectivity.inversion import search
from pytest_injectivity.inversion.policies import POLICIES
from pytest_injectivity.inversion.recovery import Recovery, Status
from pytest_injectivity.inversion.sipit import recover, recover_all
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import (
    plant_equal_embeddings,
    tiny_decoder,
)
from tests.inversion.observing import IDS, Floor, Worst, drawn, observed


def test_no_policy_changes_the_answer_at_certified_positions(floor: Floor) -> None:
    """Not even one that puts the truth last: the same words, for more tests."""
    decoder = plant_equal_embeddings(tiny_decoder("llama"), kept=8, copied=61)
    states = observed(decoder, IDS, 2)
    found = [
        recover(decoder, states, 2, eps=floor(states), policy=policy, batch=4, certify=True)
        for policy in (*POLICIES, Worst(IDS))
    ]
    # Positions of the planted pair may name either token: which is nearer is the last bit's word.
    told = {
        tuple(
            ({o.token, *o.rivals} == {8, 61} or o.token, o.status, round(o.margin or 0.0, 4))
            for o in one.outcomes
        )
        for one in found
    }
    assert 1 == len(told)
    for one in found:
        assert IDS == tuple(8 if token == 61 else token for token in one.ids)


@pytest.mark.parametrize("certify", [True, False])
@pytest.mark.parametrize("policy", [*POLICIES, Worst(IDS)])
def test_at_most_every_token_is_tested_once_a_position(
    monkeypatch: pytest.MonkeyPatch,
    floor: Floor,
    policy: Any,
    certify: bool,  # noqa: FBT001
) -> None:
    """Never more than brute force, certificates included."""
    tested: dict[Tensor, list[int]] = {}
    inner = search.Tested.add

    def counting(self: search.Tested, tokens: Tensor, *rest: Any) -> None:
        tested.setdefault(self.target, []).extend(tokens.tolist())
        inner(self, tokens, *rest)

    monkeypatch.setattr(search.Tested, "add", counting)
    decoder = tiny_decoder()
    states = observed(decoder, IDS, 2)
    found = recover(decoder, states, 2, eps=floor(states), policy=policy, batch=4, certify=certify)
    assert found.exact(IDS)
    assert all(len(tokens) == len(set(tokens)) <= 64 for tokens in tested.values())
    assert all(0 < outcome.tried <= 64 for outcome in found.outcomes[1:])
    statuses = {outcome.status for outcome in found.outcomes[1:]}
    assert ({Status.CERTIFIED} == statuses) if certify else (Status.ACCEPTED in statuses)


def test_the_rank_is_the_truths_place_in_the_order(floor: Floor) -> None:
    """The worst policy names 62 others first; what is looked up has no rank."""
    decoder = tiny_decoder()
    states = observed(decoder, IDS, 2)
    found = recover(decoder, states, 2, eps=floor(states), policy=Worst(IDS), certify=True)
    assert [None, *[62] * 7] == [outcome.rank for outcome in found.outcomes]


def test_batches_begin_small_and_double(monkeypatch: pytest.MonkeyPatch, floor: Floor) -> None:
    """A truth found early costs one small batch."""
    sizes: list[int] = []
    inner = Decoder.candidates

    def counting(self: Decoder, prefix: Any, tokens: Tensor, layers: Any) -> Any:
        sizes.append(len(tokens))
        return inner(self, prefix, tokens, layers)

    decoder = tiny_decoder()
    states = observed(decoder, IDS[:2], 1)
    monkeypatch.setattr(Decoder, "candidates", counting)
    recover(decoder, states, 1, eps=floor(states), policy=Worst(IDS), batch=4)
    assert [64, 4, 8, 16, 32, 2, 1] == sizes


def test_the_first_positions_table_is_shared(monkeypatch: pytest.MonkeyPatch, floor: Floor) -> None:
    """Ten prompts, one pass over the vocabulary after the known token, and ten certificates."""
    decoder = tiny_decoder()
    prompts = [(9, *ids) for ids in drawn(10, 3)]
    states = [observed(decoder, ids, 2) for ids in prompts]
    whole = 0
    inner = Decoder.candidates

    def counting(self: Decoder, prefix: Any, tokens: Tensor, layers: Any) -> Any:
        nonlocal whole
        whole += len(prefix) == 1
        return inner(self, prefix, tokens, layers)

    monkeypatch.setattr(Decoder, "candidates", counting)
    found = recover_all(decoder, states, 2, eps=max(map(floor, states)), known=(9,), certify=0)
    assert 1 == whole
    assert all(map(Recovery.exact, found.recoveries, prompts))
    assert {Status.CERTIFIED} == {one.outcomes[0].status for one in found.recoveries}
    assert () == found.sample
