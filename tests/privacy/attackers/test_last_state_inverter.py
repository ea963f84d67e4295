import pytest

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.last_state_inverter import LastStateInverterAttacker
from pytest_injectivity.privacy.evaluation.attack import run_attacks
from pytest_injectivity.privacy.evaluation.results import AttackResult
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import by_name, case, drawn_prompts

VOCAB = 16
PROMPTS = drawn_prompts(16, 4, vocab=VOCAB)
PRACTICE = [ids for ids in drawn_prompts(400, 4, vocab=VOCAB, seed=1) if ids not in PROMPTS]
KNOWN = [ids for ids in drawn_prompts(400, 4, vocab=VOCAB, seed=2) if ids not in PROMPTS]


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    """A generic decoder."""
    return tiny_decoder("gpt2", vocab=VOCAB)


def _read(
    decoder: Decoder, release: str, place: str = "1 last", **learned: object
) -> dict[bool, AttackResult]:
    sent = case(decoder, place, [release], PROMPTS, **(learned or {"practice": PRACTICE}))
    attackers = (LastStateInverterAttacker(),)
    found = by_name(run_attacks(decoder, [sent], seed=0, attackers=attackers, keep_ids=True))
    return {teacher_forced: one for (_, _, teacher_forced), one in found.items()}


def test_it_reads_a_whole_prompt_of_its_last_row(decoder: Decoder) -> None:
    """More of every token than 1 in 16, and nearly every last one, though no prompt is short."""
    found = _read(decoder, "identity")[True]
    rates = found.right.mean(axis=0).tolist()
    assert rates[-1] >= 0.9
    assert min(rates) >= 0.15


def test_whole_answers_are_its_own(decoder: Decoder) -> None:
    """Free-running it goes on from its own answers, one for each token of each prompt."""
    found = _read(decoder, "identity")[False]
    assert {4} == {len(ids) for ids in found.ids}
    assert found.token_rate >= 0.3


def test_it_learns_which_directions_are_loud(decoder: Decoder) -> None:
    """Noise in two directions costs no more than these."""
    assert _read(decoder, "lowrank(rank=2, sigma=20 rel)")[True].token_rate >= 0.3


def test_it_reads_a_secret_rotation_by_known_prompts(decoder: Decoder) -> None:
    """Of its own it can make no examples."""
    assert _read(decoder, "rotate(seed=1)", known=KNOWN)[True].token_rate >= 0.3
    assert not _read(decoder, "rotate(seed=1)", practice=PRACTICE)


def test_where_more_rows_are_shown_it_is_not_run(decoder: Decoder) -> None:
    """Others read these."""
    assert not _read(decoder, "identity", "1 every=2")


def test_it_reads_a_mean(decoder: Decoder) -> None:
    """More of every token than 1 in 16; which token stands where, layer 1 still tells."""
    rates = _read(decoder, "identity", "1 mean")[True].right.mean(axis=0).tolist()
    assert min(rates) >= 0.2


def test_examples_must_be_as_long_as_prompts(decoder: Decoder) -> None:
    """Of tokens farther from the end than any of the examples nothing is learned."""
    assert not _read(decoder, "identity", practice=[ids[1:] for ids in PRACTICE])


def test_it_reads_a_prompt_of_the_answer(decoder: Decoder) -> None:
    """States of the tokens that the model says give away what it was asked."""
    found = _read(decoder, "identity", "2 answer")[True]
    assert found.token_rate >= 0.3


def test_an_answer_is_not_searched(decoder: Decoder) -> None:
    """No other attacker is made for one, and `joint search` runs no answers."""
    sent = case(decoder, "1 answer", ["identity"], PROMPTS[:2])
    assert not run_attacks(decoder, [sent], seed=0)[0].attacks
