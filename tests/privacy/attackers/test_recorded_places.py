"""Attackers that compare candidates read attention weights and routing as they read states."""

import pytest

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.mahalanobis import MahalanobisAttacker
from pytest_injectivity.privacy.evaluation.attack import run_attacks
from pytest_injectivity.privacy.evaluation.results import AttackResult
from pytest_injectivity.testing import tiny_decoder
from scripts.families.small_models import small_config, small_model
from tests.attacks import by_name, case, drawn_prompts

PROMPTS = drawn_prompts(10, 4)


def _read(
    decoder: Decoder, place: str, budget: int | None = None, release: str = "identity"
) -> AttackResult:
    sent = case(decoder, place, [release], PROMPTS, practice=drawn_prompts(30, 4, seed=1))
    found = run_attacks(
        decoder, [sent], seed=0, attackers=(MahalanobisAttacker(),), free_running=0, budget=budget
    )
    return by_name(found)[release, "mahalanobis", True]


def _by_position(decoder: Decoder, place: str) -> list[float]:
    return _read(decoder, place).right.mean(axis=0).tolist()


@pytest.mark.parametrize("place", ["1 attention", "2 attention"])
def test_attention_tells_all_tokens_but_the_first(place: str) -> None:
    """The first one attends to itself alone, whatever it is."""
    first, *later = _by_position(tiny_decoder("llama"), place)
    assert first < 0.3
    assert [1.0, 1.0, 1.0] == later


@pytest.mark.parametrize("release", ["identity", "topk(share=0.5)", "round(bits=2)"])
def test_routing_tells_all_tokens(release: str) -> None:
    """A logit an expert is enough to tell tokens apart, and so are two of four or two bits of each."""
    decoder = Decoder("mixtral", small_model(small_config("mixtral")))
    assert 1.0 == _read(decoder, "1 routing", release=release).token_rate


def test_experts_chosen_tell_many_tokens() -> None:
    """Two of four in three blocks are 216 choices for 96 tokens; chance reads one token in 96."""
    decoder = Decoder("mixtral", small_model(small_config("mixtral")))
    assert _read(decoder, "-1 experts").token_rate > 0.3


def test_likely_candidates_can_be_compared() -> None:
    """Where all are more than the budget."""
    found = _read(tiny_decoder("llama"), "2 attention", budget=1000)
    assert found.compared is not None
    assert found.right.mean(axis=0).max() > 0.5
