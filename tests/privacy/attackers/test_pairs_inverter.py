from dataclasses import replace

import pytest

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.pairs_inverter import PairsInverterAttacker
from pytest_injectivity.privacy.evaluation.attack import run_attacks
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import by_name, case, drawn_prompts

VOCAB = 16
PROMPTS = drawn_prompts(10, 4, vocab=VOCAB)
KNOWN = [ids for ids in drawn_prompts(150, 4, vocab=VOCAB, seed=2) if ids not in PROMPTS]


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    """A generic decoder."""
    return tiny_decoder("gpt2", vocab=VOCAB)


def _rate(
    decoder: Decoder,
    release: str,
    place: str = "1",
    *,
    own: Decoder | None = None,
    attacker: PairsInverterAttacker | None = None,
) -> float:
    sent = case(decoder, place, [release], PROMPTS, known=KNOWN)
    attackers = (attacker or PairsInverterAttacker(),)
    (found,) = by_name(run_attacks(own or decoder, [sent], seed=0, attackers=attackers)).values()
    return found.token_rate


@pytest.mark.parametrize("release", ["identity", "lowrank(rank=2, sigma=20 rel)", "rotate(seed=1)"])
def test_it_reads_rows_of_any_release_that_is_the_same_for_all(
    release: str, decoder: Decoder
) -> None:
    """Whatever is secret of it: the pairs have it too."""
    assert _rate(decoder, release) >= 0.8


@pytest.mark.parametrize("place", ["1 last", "1 mean"])
def test_it_reads_prompts_of_one_row(place: str, decoder: Decoder) -> None:
    """More than 1 in 16 of the tokens."""
    assert _rate(decoder, "identity", place) >= 0.3


def test_it_uses_no_model(decoder: Decoder) -> None:
    """Its answers are the same whatever model it is given."""
    sent = case(decoder, "1", ["identity"], PROMPTS, known=KNOWN)
    other = tiny_decoder("llama", vocab=VOCAB, seed=3)
    attackers = (PairsInverterAttacker(),)
    found, again = (
        run_attacks(own, [sent], seed=0, attackers=attackers, keep_ids=True)[0].attacks[0]
        for own in (decoder, other)
    )
    assert found.ids == again.ids


def test_practice_is_no_pair(decoder: Decoder) -> None:
    """Whoever practises has a model; without known prompts the attacker is not run."""
    practised = case(decoder, "1", ["identity"], PROMPTS, practice=KNOWN)
    (found,) = run_attacks(decoder, [practised], seed=0, attackers=(PairsInverterAttacker(),))
    assert not found.attacks
    both = replace(practised, known=case(decoder, "1", ["identity"], PROMPTS, known=KNOWN).known)
    (found,) = run_attacks(decoder, [both], seed=0, attackers=(PairsInverterAttacker(),))
    assert ["pairs inverter"] == [one.attacker for one in found.attacks]


def test_of_many_pairs_some_are_enough(decoder: Decoder) -> None:
    """Its time is bounded."""
    assert _rate(decoder, "identity", attacker=PairsInverterAttacker(most=200)) >= 0.8


def test_nothing_is_read_of_drowned_rows(decoder: Decoder) -> None:
    """Fresh noise of 100 norms: chance (1 in 16) and what 40 tokens leave to luck."""
    assert _rate(decoder, "gaussian(sigma=100 rel)") <= 0.2


def test_prompts_of_one_token(decoder: Decoder) -> None:
    """Position 0 is all there is."""
    read, known = [(token,) for token in range(4)], [(token,) for token in range(4, VOCAB)]
    sent = case(decoder, "1", ["identity"], read, known=known)
    (found,) = run_attacks(decoder, [sent], seed=0, attackers=(PairsInverterAttacker(),))
    assert not found.attacks[0].right.any()
