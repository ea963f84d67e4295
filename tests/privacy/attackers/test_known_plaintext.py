import pytest

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.known_plaintext import KnownPlaintextAttacker
from pytest_injectivity.privacy.evaluation.attack import run_attacks
from pytest_injectivity.privacy.evaluation.results import AttackResult
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import by_name, case, drawn_prompts

PROMPTS = drawn_prompts(6, 4)
KNOWN = drawn_prompts(40, 4, seed=1)
ROTATED, PERMUTED = "rotate(seed=5)", "permute_coordinates(seed=5)"


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    """A generic decoder."""
    return tiny_decoder("llama")


def _attacks(
    decoder: Decoder, release: str, known: int, place: str = "2", practice: int = 0
) -> dict[bool, AttackResult]:
    """The results by whether the attack was teacher-forced."""
    sent = case(decoder, place, [release], PROMPTS, known=KNOWN[:known], practice=KNOWN[:practice])
    found = by_name(run_attacks(decoder, [sent], seed=0, attackers=(KnownPlaintextAttacker(),)))
    return {way: one for (_, _, way), one in found.items()}


@pytest.mark.parametrize("place", ["2", "1 kv"])
@pytest.mark.parametrize(("release", "known"), [(ROTATED, 40), (PERMUTED, 40), (PERMUTED, 1)])
def test_the_secret_is_recovered(decoder: Decoder, release: str, known: int, place: str) -> None:
    """From enough known prompts for a rotation, and from one for an order of coordinates."""
    found = _attacks(decoder, release, known, place)
    assert {True: 1.0, False: 1.0} == {way: one.token_rate for way, one in found.items()}


def test_few_known_prompts_help_as_far_as_their_directions_go(decoder: Decoder) -> None:
    """One prompt of four tokens determines four directions; noise hides what they do not show."""
    noisy = f"gaussian(sigma=0.25 rel)|{ROTATED}"
    few, many = (_attacks(decoder, noisy, known)[True].token_rate for known in (1, 40))
    assert few < many
    assert many > 0.8


@pytest.mark.parametrize("release", ["identity", "rotate|permute", ROTATED])
def test_it_is_run_where_a_matrix_is_secret_and_a_prompt_known(
    decoder: Decoder, release: str
) -> None:
    """Practice is of no use, because nobody can practise a secret that is the sender's."""
    assert {} == _attacks(decoder, release, known=0, practice=40)
