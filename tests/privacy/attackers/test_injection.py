from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.injection import InjectionAttacker
from pytest_injectivity.privacy.evaluation.attack import run_attacks
from pytest_injectivity.privacy.evaluation.results import AttackResult
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import by_name, case, drawn_prompts
from tests.obedient import ASK, obedient_decoder

PROMPTS = drawn_prompts(20, 2, vocab=ASK + 1)


def _read(decoder: Decoder, place: str, release: str) -> list[AttackResult]:
    sent = case(decoder, place, [release], PROMPTS)
    attackers = (InjectionAttacker(),)
    found = run_attacks(decoder, [sent], seed=0, attackers=attackers, keep_ids=True)
    return list(by_name(found).values())


def test_a_model_that_obeys_repeats_its_cache() -> None:
    """As it is sent, and behind noise that leaves it readable; the attacker vouches for nothing."""
    (clear,) = _read(obedient_decoder(), "-1 cache", "identity")
    (noisy,) = _read(obedient_decoder(), "-1 cache", "gaussian(sigma=0.1 rel)")
    assert clear.token_rate == 1.0
    assert noisy.token_rate > 0.8
    assert clear.verified_rate == 0.0


def test_without_a_tokenizer_there_is_no_answer() -> None:
    """Nothing can be asked for."""
    (found,) = _read(tiny_decoder("llama", vocab=ASK + 1), "-1 cache", "identity")
    assert {(-1, -1)} == set(found.ids)


def test_one_block_is_no_cache_to_go_on_from() -> None:
    """The others would be missing."""
    assert [] == _read(obedient_decoder(), "1 kv", "identity")
