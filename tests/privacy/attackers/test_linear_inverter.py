import pytest

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.argmin import ArgminAttacker
from pytest_injectivity.privacy.attackers.linear_inverter import LinearInverterAttacker
from pytest_injectivity.privacy.evaluation.attack import run_attacks
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import by_name, case, drawn_prompts

PROMPTS = drawn_prompts(12, 5)
PRACTICE = drawn_prompts(300, 5, seed=1)
_BOTH = (LinearInverterAttacker(), ArgminAttacker())
LOUD = "lowrank(rank=2, sigma=20 rel)"


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    """A generic decoder."""
    return tiny_decoder("gpt2")


def _rates(decoder: Decoder, release: str, place: str = "1", **learned: object) -> dict[str, float]:
    sent = case(decoder, place, [release], PROMPTS, **learned)
    found = by_name(run_attacks(decoder, [sent], seed=0, attackers=_BOTH))
    return {attacker: one.token_rate for (_, attacker, _), one in found.items()}


def test_it_learns_which_directions_are_loud(decoder: Decoder) -> None:
    """Of noise in two directions, in which nearest neighbors are lost."""
    found = _rates(decoder, LOUD, practice=PRACTICE)
    assert found["argmin"] <= 0.15
    assert found["linear inverter"] >= 0.6


def test_it_reads_a_secret_rotation_by_known_prompts(decoder: Decoder) -> None:
    """The pairs of the sender's are all that it needs; of its own it can make none."""
    known = drawn_prompts(200, 5, seed=2)
    assert _rates(decoder, "rotate(seed=1)", known=known)["linear inverter"] >= 0.6
    assert "linear inverter" not in _rates(decoder, "rotate(seed=1)", practice=PRACTICE)


def test_keys_and_values_are_learned(decoder: Decoder) -> None:
    """Rows of another width than the embedding's."""
    assert _rates(decoder, "identity", "1 kv", practice=PRACTICE)["linear inverter"] >= 0.9


def test_nothing_is_read_of_drowned_rows(decoder: Decoder) -> None:
    """Fresh noise of 100 norms: at most chance (1 in 64) and what 60 tokens leave to luck."""
    found = _rates(decoder, "gaussian(sigma=100 rel)", practice=PRACTICE)
    assert found["linear inverter"] <= 0.1


def test_without_examples_it_is_not_run(decoder: Decoder) -> None:
    """Rather than with nothing learned."""
    assert ["argmin"] == list(_rates(decoder, LOUD))
