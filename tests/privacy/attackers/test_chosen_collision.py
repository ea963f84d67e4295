import pytest

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.chosen_collision import ChosenCollisionAttacker
from pytest_injectivity.privacy.attackers.kv_collision import KvCollisionAttacker
from pytest_injectivity.privacy.evaluation.attack import run_attacks
from pytest_injectivity.privacy.evaluation.results import AttackResult
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import by_name, case, drawn_prompts

PROMPTS = drawn_prompts(20, 3)
PRACTICE = drawn_prompts(40, 3, seed=1)
_BOTH = (KvCollisionAttacker(), ChosenCollisionAttacker())


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    """A decoder whose keys are longer than its values."""
    return tiny_decoder("llama", std=0.5)


def _attacks(
    decoder: Decoder, release: str, practice: int, place: str = "2 kv"
) -> dict[str, AttackResult]:
    sent = case(decoder, place, [release], PROMPTS, practice=PRACTICE[:practice])
    found = by_name(run_attacks(decoder, [sent], seed=0, attackers=_BOTH, free_running=0))
    return {attacker: one for (_, attacker, _), one in found.items()}


@pytest.mark.parametrize("place", ["2 kv", "2 keys", "1 values"])
def test_unchanged_caches_are_read_and_vouched_for(decoder: Decoder, place: str) -> None:
    """Mostly: some tokens lie farther off than thresholds learned from others."""
    found = _attacks(decoder, "identity", 10, place)["collision+"]
    assert 1.0 == found.token_rate
    assert found.verified_rate > 0.8


def test_learned_units_read_no_less_than_medians(decoder: Decoder) -> None:
    """Which say nothing of the noise."""
    found = _attacks(decoder, "gaussian(sigma=1 rel)", 40)
    assert found["collision+"].token_rate >= found["collision"].token_rate - 0.05
    assert found["collision+"].token_rate > 0.1


def test_without_examples_it_is_not_run(decoder: Decoder) -> None:
    """Nor of states."""
    assert ["collision"] == list(_attacks(decoder, "identity", 0))
    assert {} == _attacks(decoder, "identity", 10, "1")
