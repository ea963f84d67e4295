import pytest

from pytest_injectivity.privacy.attackers.procrustes import ProcrustesAttacker
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import attacks, drawn_prompts


@pytest.mark.parametrize("place", ["2", "1 kv"])
def test_a_secret_rotation_alone_is_broken(place: str) -> None:
    """Norms identify the first tokens, and these the rotation, teacher-forced and free-running."""
    attackers = (ProcrustesAttacker(),)
    found = attacks(
        tiny_decoder("llama"), place, ["rotate(seed=5)"], drawn_prompts(6, 4), attackers=attackers
    )
    assert {("procrustes", True), ("procrustes", False)} == {key[1:] for key in found}
    told, free = (found["rotate(seed=5)", "procrustes", way] for way in (True, False))
    assert told.token_rate > 0.99
    assert free.token_rate > 0.9


def test_a_rotation_whose_key_is_known_hides_nothing() -> None:
    """The images of candidates are rotated too, and every attacker by images reads everything."""
    found = attacks(tiny_decoder("llama"), "1", ["rotate(seed=5, key=known)"], drawn_prompts(2, 3))
    assert 1.0 == found["rotate(seed=5, key=known)", "argmin", True].prompt_rate
    assert not any(key[1] == "procrustes" for key in found)


def test_a_rotation_of_shuffled_rows_is_not_attacked() -> None:
    """The attacker needs to know which row is whose."""
    attackers = (ProcrustesAttacker(),)
    found = attacks(
        tiny_decoder("llama"), "1", ["rotate|permute"], drawn_prompts(2, 3), attackers=attackers
    )
    assert {} == found
