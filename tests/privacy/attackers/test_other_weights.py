from collections.abc import Mapping

import pytest
import torch

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.base import Attacker
from pytest_injectivity.privacy.attackers.last_state_inverter import LastStateInverterAttacker
from pytest_injectivity.privacy.attackers.linear_inverter import LinearInverterAttacker
from pytest_injectivity.privacy.attackers.network_inverter import NetworkInverterAttacker
from pytest_injectivity.privacy.evaluation.attack import run_attacks
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import case, drawn_prompts
from tests.repetitions import mostly_slow

VOCAB = 16
PROMPTS = drawn_prompts(10, 3, vocab=VOCAB)
PRACTICE = [ids for ids in drawn_prompts(120, 3, vocab=VOCAB, seed=1) if ids not in PROMPTS]
INVERTERS: Mapping[str, tuple[Attacker, str]] = {
    "linear": (LinearInverterAttacker(), "1"),
    "network": (NetworkInverterAttacker(), "1"),
    "last state": (LastStateInverterAttacker(), "1 last"),
}


def _near(decoder: Decoder, distance: float) -> Decoder:
    """A sibling: the same weights, each moved by a share of their size."""
    other, draw = tiny_decoder("gpt2", vocab=VOCAB), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for own, there in zip(other.model.parameters(), decoder.model.parameters(), strict=True):
            noise = torch.randn(there.shape, generator=draw) * there.std(correction=0)
            own.copy_(there + distance * noise)
    return other


@pytest.mark.parametrize("name", mostly_slow(INVERTERS, "linear", "last state"))
def test_weights_of_a_sibling_read_and_strange_ones_do_not(name: str) -> None:
    """A trained inverter has its own weights only: it reads as much as they are like the sender's."""
    attacker, place = INVERTERS[name]
    sender = tiny_decoder("gpt2", vocab=VOCAB)
    rates = []
    for own in (sender, _near(sender, 0.02), tiny_decoder("gpt2", vocab=VOCAB, seed=5)):
        sent = case(sender, place, ["identity"], PROMPTS, attacker=own, practice=PRACTICE)
        (found,) = run_attacks(own, [sent], seed=0, attackers=(attacker,), free_running=0)
        rates.append(found.attacks[0].token_rate)
    same, sibling, strange = rates
    assert same >= 0.3
    assert sibling >= same - 0.1
    assert strange <= 0.2
