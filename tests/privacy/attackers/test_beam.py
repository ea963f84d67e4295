from itertools import product

import pytest
import torch

from pytest_injectivity.privacy.attackers import beam as beams
from pytest_injectivity.privacy.attackers.base import AttackSetting
from pytest_injectivity.privacy.attackers.beam import BeamAttacker
from pytest_injectivity.privacy.evaluation.cases import channels_of
from pytest_injectivity.privacy.releases.protocol import draws
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import attacks, case, drawn_prompts


def test_a_beam_as_wide_as_all_texts_finds_the_likeliest() -> None:
    """The posterior of every prompt of three tokens, by brute force."""
    release, vocab = "gaussian(sigma=1)", 4
    decoder, prompts = tiny_decoder("gpt2", vocab=vocab, std=0.8), drawn_prompts(2, 3, vocab=vocab)
    beam = BeamAttacker(width=vocab**2)
    found = attacks(decoder, "2", [release], prompts, attackers=(beam,), keep_ids=True)
    sent = case(decoder, "2", [release], prompts)
    one = sent.releases[release]
    every = torch.tensor(list(product(range(vocab), repeat=3)))
    states = decoder.states(every, [2])[2].double()
    prior = torch.zeros(len(every), dtype=torch.float64)
    for length in (1, 2):
        for before in product(range(vocab), repeat=length):
            after = (every[:, :length] == torch.tensor(before)).all(dim=1)
            logits = decoder.next_token_logits(torch.tensor(before)).double()
            prior[after] += logits.log_softmax(dim=0)[every[after, length]]
    assert 2 == len(sent.observed.rows)
    for ids, rows, named in zip(
        prompts, sent.observed.rows, found[release, "beam", False].ids, strict=True
    ):
        apart = (states - one.apply(rows, draws(0, ids)).double()).square().sum(dim=2)
        nu = torch.tensor([sent.nu[0], sent.nu[1], sent.nu[1]])  # type: ignore[index]
        likelihood = -(apart / (2 * (1.0 + nu.square()))).sum(dim=1)
        assert tuple(every[(likelihood + prior).argmax()].tolist()) == named


@pytest.mark.parametrize("shortlist", [4, 64])
def test_a_beam_reads_what_is_released_as_it_is(shortlist: int) -> None:
    """Of a shortlist of the lens and the prior, or of all tokens."""
    decoder, prompts = tiny_decoder("llama"), drawn_prompts(2, 3)
    beam = BeamAttacker(shortlist=shortlist)
    found = attacks(decoder, "1", ["identity"], prompts, attackers=(beam,))
    assert {("identity", "beam", False)} == set(found)
    rate = found["identity", "beam", False].token_rate
    assert rate == 1.0 if shortlist == 64 else rate > 0.5


def test_the_lens_of_a_shortlist_is_there_before_the_first_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker begins attacks on the threads of the one process, and reads prompts on its own."""
    decoder, calls = tiny_decoder("llama"), []
    (channel,) = channels_of(case(decoder, "1", ["identity"], drawn_prompts(2, 3)), decoder, 0)
    monkeypatch.setattr(beams, "lens_of", lambda *asked: calls.append(asked))
    setting = AttackSetting(decoder, channel, teacher_forced=False, seed=0)
    BeamAttacker(shortlist=64).begin(setting)
    assert [] == calls
    BeamAttacker(shortlist=4).begin(setting)
    assert 1 == len(calls)
