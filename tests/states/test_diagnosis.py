"""Structural or accidental: what the architecture cannot see against what this checkpoint cannot."""

import math
from typing import Any

import pytest
import torch

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.models.families import TABLE
from pytest_injectivity.states import diagnosis
from pytest_injectivity.states.diagnosis import DRAWS, Diagnosis, Outcome, diagnose
from pytest_injectivity.testing import SLIDING_WINDOW, plant_equal_embeddings, tiny_decoder

DEEP: tuple[Layer, ...] = (1, 2, "norm")
ALL: tuple[Layer, ...] = (0, *DEEP)
COMMON = [11, 12, 13, 14]


def _outcomes(decoder: Any, left: list[int], right: list[int], **asked: Any) -> dict[Layer, str]:
    found = diagnose(decoder, [left, right], [(0, 1)], ALL, **asked)
    return {layer: str(one.outcome) for (layer, _), one in found.items()}


@pytest.mark.parametrize("family", TABLE)
def test_a_duplicated_embedding_row_is_accidental(family: str) -> None:
    """Equal at every layer under the checkpoint's own weights, and apart after one draw."""
    decoder = plant_equal_embeddings(tiny_decoder(family), kept=3, copied=7)
    found = diagnose(decoder, [[*COMMON, 3], [*COMMON, 7]], [(0, 1)], ALL)
    assert len(ALL) == len(found)
    for one in found.values():
        assert (Outcome.ACCIDENTAL, 0.0, True) == (one.outcome, one.distance, one.equal_in_float64)
        assert 1 == len(one.separations) == one.separated_by


@pytest.mark.parametrize("family", TABLE)
def test_an_earlier_token_is_structural_at_layer_0_alone(family: str) -> None:
    """Layer 0 sees the last token; every later layer sees both."""
    expected = {0: "structural", **dict.fromkeys(DEEP, "accidental")}
    assert expected == _outcomes(tiny_decoder(family), [3, *COMMON], [7, *COMMON])


@pytest.mark.parametrize("family", ["mistral", "phi3"])
def test_a_token_outside_every_window_is_structural(family: str) -> None:
    """Two layers of window 8 reach 14 tokens back: the 15th is not seen, whatever the weights are."""
    reach = 2 * (SLIDING_WINDOW - 1)
    decoder = tiny_decoder(family)
    common = list(range(10, 11 + reach))
    assert dict.fromkeys(ALL, "structural") == _outcomes(decoder, [3, *common], [7, *common])
    seen = _outcomes(decoder, [3, *common[1:]], [7, *common[1:]])
    assert {0: "structural", 1: "structural", 2: "accidental", "norm": "accidental"} == seen


def test_a_window_hides_the_length_as_well() -> None:
    """Rotary positions are relative: with one token more before the window nothing is seen."""
    common = list(range(10, 30))
    found = diagnose(tiny_decoder("mistral"), [[3, *common], [5, 4, *common]], [(0, 1)], ALL)
    assert {Outcome.STRUCTURAL} == {one.outcome for one in found.values()}
    assert all(one.equal_in_float64 for one in found.values())


@pytest.mark.parametrize(("family", "outcome"), [("llama", "structural"), ("gpt2", "accidental")])
def test_one_token_repeated_is_told_by_absolute_positions_alone(family: str, outcome: str) -> None:
    """Attention over equal values gives that value, however many there are."""
    assert outcome == _outcomes(tiny_decoder(family), [5, 5], [5, 5, 5])["norm"]


def test_all_pairs_share_the_draws() -> None:
    """A pair's separations do not depend on which other pairs are diagnosed with it."""
    decoder = plant_equal_embeddings(tiny_decoder("gpt2"), kept=3, copied=7)
    prompts = [[*COMMON, 3], [*COMMON, 7], [3, *COMMON], [7, *COMMON]]
    together = diagnose(decoder, prompts, [(0, 1), (2, 3)], DEEP)
    alone = diagnose(decoder, prompts, [(2, 3)], DEEP)
    assert {(layer, (2, 3)) for layer in DEEP} == set(alone)
    assert alone.items() <= together.items()


def test_it_stops_when_every_pair_is_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """One draw where it separates; five where the architecture sees no difference."""
    draws: list[int] = []
    monkeypatch.setattr(
        diagnosis,
        "redraw",
        lambda copy, generator, run=diagnosis.redraw: (draws.append(1), run(copy, generator)),
    )
    decoder = plant_equal_embeddings(tiny_decoder("gpt2"), kept=3, copied=7)
    prompts = [[*COMMON, 3], [*COMMON, 7], [3, *COMMON]]
    told: list[int] = []
    diagnose(decoder, prompts, [(0, 1)], ALL, progress=told.append)
    assert (1, [1, 2]) == (len(draws), told)
    diagnose(decoder, prompts, [(0, 2)], [0], progress=told.append)
    assert 1 + 1 == len(draws)  # other last tokens
    diagnose(decoder, [[1, 9], [2, 9]], [(0, 1)], [0])
    assert 2 + DRAWS == len(draws)


def test_no_pairs_are_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even a copy of the model."""
    decoder = tiny_decoder("gpt2")
    monkeypatch.setattr(decoder, "as_float64", lambda: pytest.fail("copied"))
    assert {} == diagnose(decoder, [[1], [2]], [], DEEP)


def test_the_distance_is_that_of_true_float64() -> None:
    """Under the checkpoint's own weights, whatever dtype it computes in."""
    decoder = tiny_decoder("llama", dtype=torch.bfloat16)
    prompts = [[*COMMON, 3], [*COMMON, 7]]
    states = decoder.as_float64().states(torch.tensor(prompts), DEEP)
    found = diagnose(decoder, prompts, [(0, 1)], DEEP)
    assert len(DEEP) == len(found)
    for (layer, _), one in found.items():
        left, right = states[layer][:, -1]
        assert float((left - right).norm()) == pytest.approx(one.distance, rel=1e-10)
        assert max(float(left.norm()), float(right.norm())) == pytest.approx(one.norm, rel=1e-10)


def test_the_words_are_those_of_the_specification() -> None:
    """More than 1e-8 in one draw; at most 1e-12 in all five; else undecided."""

    def outcome(*separations: float) -> str:
        return str(Diagnosis(0.0, 1.0, separations).outcome)

    assert "accidental" == outcome(0.0, math.nextafter(1e-8, 1))
    assert "undecided" == outcome(1e-8, 1e-8, 1e-8, 1e-8, 1e-8)
    assert "structural" == outcome(1e-12, 0.0, 0.0, 0.0, 1e-12)
    assert "undecided" == outcome(0.0, 0.0, 0.0, 0.0, math.nextafter(1e-12, 1))
    assert "undecided" == outcome(0.0, 0.0, 0.0, 0.0)
    assert "undecided" == outcome()
    assert "undecided" == outcome(0.0, math.nan, 0.0, 0.0, 0.0)
    assert "accidental" == outcome(math.nan, 1.0)


def test_float64_tells_apart_what_is_beyond_its_rounding() -> None:
    """A share of the norm, both ways; two rows of zeros are equal."""
    assert Diagnosis(1e-12, 1.0).equal_in_float64
    assert not Diagnosis(2e-12, 1.0).equal_in_float64
    assert Diagnosis(0.0, 0.0).equal_in_float64
    assert not Diagnosis(math.nan, 1.0).equal_in_float64
