import pytest

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.gram import GramAttacker
from pytest_injectivity.privacy.attackers.linear_inverter import LinearInverterAttacker
from pytest_injectivity.privacy.evaluation.attack import run_attacks
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import attacks, by_name, case, drawn_prompts

PROMPTS = drawn_prompts(5, 4)
ORTHOGONAL = "mix(over=coordinates, matrix=orthogonal)"


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    """A generic decoder."""
    return tiny_decoder("llama")


@pytest.mark.parametrize("place", ["2", "1 kv"])
def test_inner_products_give_rows_away(decoder: Decoder, place: str) -> None:
    """Under a fresh matrix for each prompt, as long as it is orthogonal."""
    found = attacks(decoder, place, [ORTHOGONAL], PROMPTS, attackers=(GramAttacker(),))
    assert [1.0, 1.0] == [one.token_rate for one in found.values()]
    assert {True, False} == {way for _, _, way in found}


def test_a_matrix_that_changes_inner_products_hides_more(decoder: Decoder) -> None:
    """GELO's reason for matrices that are not orthogonal."""
    invertible = "mix(over=coordinates, matrix=invertible)"
    found = attacks(decoder, "2", [invertible], PROMPTS, attackers=(GramAttacker(),))
    assert found[invertible, "gram", True].token_rate <= 0.5


def test_examples_tell_nothing_of_fresh_matrices(decoder: Decoder) -> None:
    """Neither an attacker's own nor the sender's: at most chance (1 in 64) and what luck adds."""
    practice, known = (drawn_prompts(100, 4, seed=seed) for seed in (1, 2))
    sent = case(decoder, "2", [ORTHOGONAL], drawn_prompts(30, 4), practice=practice, known=known)
    attackers = (LinearInverterAttacker(),)
    found = by_name(run_attacks(decoder, [sent], seed=0, attackers=attackers))
    assert found[ORTHOGONAL, "linear inverter", True].token_rate <= 0.1
