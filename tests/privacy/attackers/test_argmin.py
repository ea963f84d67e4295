import torch

from pytest_injectivity.inversion.one_step import OneStep, distances_from_each
from pytest_injectivity.privacy.attackers.argmin import ArgminAttacker
from pytest_injectivity.privacy.evaluation.attack import run_attacks
from pytest_injectivity.privacy.releases.protocol import draws
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import attacks, case, drawn_prompts

PROMPTS = drawn_prompts(2, 3)


def test_argmin_takes_the_nearest_of_the_whole_vocabulary() -> None:
    """Compared with distances by subtraction in float64, under noise larger than the states."""
    decoder = tiny_decoder("gpt2")
    found = attacks(
        decoder, "1", ["gaussian(sigma=1)"], PROMPTS, attackers=(ArgminAttacker(),), keep_ids=True
    )
    read = found["gaussian(sigma=1)", "argmin", True]
    sent = case(decoder, "1", ["gaussian(sigma=1)"], PROMPTS)
    release = sent.releases["gaussian(sigma=1)"]
    for ids, rows, named in zip(PROMPTS, sent.observed.rows, read.ids, strict=True):
        released = release.apply(rows, draws(0, ids))
        expected = tuple(
            int(
                distances_from_each(
                    OneStep.of(decoder, 1, ids[:at])(torch.arange(decoder.vocab_size)), row[None]
                ).argmin()
            )
            for at, row in enumerate(released)
        )
        assert expected == named
    assert 0.0 < read.token_rate < 1.0


def test_weights_in_another_precision_read_what_their_error_leaves() -> None:
    """States of bfloat16 weights, attacked with the float32 ones they were rounded from."""
    sender, attacker = (
        tiny_decoder("llama", dtype=dtype) for dtype in (torch.bfloat16, torch.float32)
    )
    sent = case(sender, "2", ["identity"], drawn_prompts(4, 3), attacker=attacker)
    (release,) = run_attacks(attacker, [sent], seed=0, free_running=0)
    found = {one.attacker: one for one in release.attacks}
    assert found["argmin"].token_rate > 0.9
    assert found["ball"].verified_rate <= found["argmin"].token_rate
