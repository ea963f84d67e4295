"""Classes of equal embedding rows against brute force, and SipIt over vocabularies that have them."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from pytest_injectivity.inversion.own_states import observe
from pytest_injectivity.inversion.policies import POLICIES
from pytest_injectivity.inversion.recovery import Status
from pytest_injectivity.inversion.sipit import recover, recover_all
from pytest_injectivity.inversion.token_classes import TokenClasses, token_classes
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import byte_tokenizer, plant_equal_embeddings, tiny_decoder

Floor = Callable[[Tensor], float]


@settings(max_examples=50)
@given(
    rows=arrays(np.float32, (9, 2), elements=st.sampled_from([0.0, -0.0, 1.0, np.nan, np.inf])),
    known=st.sets(st.integers(0, 8), min_size=1),
)
def test_classes_are_those_of_brute_force(rows: np.ndarray, known: set[int]) -> None:
    """Compared row by row; what is not finite is equal to nothing, and what is no token is left out."""
    ids = sorted(known)
    found = TokenClasses.of(torch.from_numpy(rows), np.array(ids))
    finite = [one for one in ids if np.isfinite(rows[one]).all()]
    twins = {
        one: tuple(o for o in finite if o != one and (rows[o] == rows[one]).all()) for one in finite
    }
    smallest = [one for one in ids if not any(o < one for o in twins.get(one, ()))]
    assert smallest == found.tokens.tolist()
    assert len(smallest) == len(found)
    assert [twins.get(one, ()) for one in range(9)] == [found.twins_of(one) for one in range(9)]
    assert sum(map(len, twins.values())) == 2 * found.pairs
    assert sum(map(bool, twins.values())) == found.copied
    assert 9 - len(ids) == found.left_out
    expected = [
        min(one, *twins.get(one, ()), one) if one in known else smallest[0] for one in range(9)
    ]
    assert expected == found.representative.tolist()
    assert [one in known for one in range(9)] == [found.has(one) for one in range(9)]
    assert smallest == found.searched.nonzero()[:, 0].tolist()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("family", ["gpt2", "gemma2", "mamba"])
def test_prompts_without_twins_are_not_touched_by_them(
    family: str, policy: str, floor: Floor
) -> None:
    """Certified throughout, though half of the vocabulary is planted twice."""
    decoder = tiny_decoder(family)
    for token in range(0, 32, 2):
        plant_equal_embeddings(decoder, token, token + 1)
    ids = (40, 33, 60, 51)
    states = observe(decoder, ids, [2])[2]
    found = recover(decoder, states, 2, eps=floor(states), policy=policy, certify=True)
    assert found.exact(ids)
    assert {Status.CERTIFIED} == {one.status for one in found.outcomes}


@pytest.mark.parametrize("layer", [0, 1, "norm"])
def test_a_token_with_twins_is_ambiguous_without_a_certificate(
    layer: int | str, floor: Floor
) -> None:
    """Its rivals are known by the weights; what follows is searched on."""
    decoder = plant_equal_embeddings(tiny_decoder("llama"), kept=8, copied=41)
    plant_equal_embeddings(decoder, kept=8, copied=50)
    ids = (7, 41, 9)
    states = observe(decoder, ids, [layer])[layer]  # type: ignore[list-item, index]
    found = recover(decoder, states, layer, eps=floor(states))  # type: ignore[arg-type]
    assert [7, 8, 9] == list(found.ids)
    told = [(one.status is Status.AMBIGUOUS, one.rivals, one.twins) for one in found.outcomes]
    assert [(False, (), ()), (True, (41, 50), (41, 50)), (False, (), ())] == told
    assert not found.exact(ids)


def test_padding_is_never_an_answer(floor: Floor) -> None:
    """Rows that no token has are no candidates: not even where they equal a token's."""
    decoder = tiny_decoder("llama", vocab=300, tokenizer=byte_tokenizer())
    decoder.parts.embeddings.weight[256:] = decoder.parts.embeddings.weight[97]
    ids = (97, 98, 97)
    states = observe(decoder, ids, [2])[2]
    for policy in POLICIES:
        found = recover(decoder, states, 2, eps=floor(states), policy=policy, certify=True)
        assert found.exact(ids)
    assert 256 == len(token_classes(decoder))


def test_a_row_of_padding_in_a_prompt_is_not_found(floor: Floor) -> None:
    """No text has it: the nearest token does not verify."""
    decoder = tiny_decoder("llama", vocab=300, tokenizer=byte_tokenizer())
    states = observe(decoder, (97, 280, 98), [2])[2]
    found = recover(decoder, states, 2, eps=floor(states))
    assert Status.NEAREST is found.outcomes[1].status


def _flat() -> Decoder:
    decoder = tiny_decoder("gpt2")
    for token in range(1, 64):
        plant_equal_embeddings(decoder, 0, token)
    return decoder


@pytest.mark.parametrize("policy", POLICIES)
def test_a_vocabulary_of_one_row_is_ambiguous_everywhere(policy: str, floor: Floor) -> None:
    """One candidate, 63 twins: every position says so."""
    decoder = _flat()
    states = observe(decoder, (5, 9, 3), [1])[1]
    found = recover_all(decoder, [states], 1, eps=floor(states), policy=policy)
    (recovery,) = found.recoveries
    assert (0, 0, 0) == recovery.ids
    assert [63] * 3 == [len(one.twins) for one in recovery.outcomes]
    assert {Status.AMBIGUOUS: 3} == found.statuses


@pytest.mark.parametrize("policy", POLICIES)
def test_a_row_that_is_not_finite_is_never_an_answer(policy: str, floor: Floor) -> None:
    """Nor a twin of another that is not finite."""
    decoder = tiny_decoder("llama")
    ids = (5, 9, 3)
    states = observe(decoder, ids, [2])[2]
    decoder.parts.embeddings.weight[[40, 41]] = torch.nan
    found = recover(decoder, states, 2, eps=floor(states), policy=policy, certify=True)
    assert ids == found.ids
    assert token_classes(decoder).pairs == 0
