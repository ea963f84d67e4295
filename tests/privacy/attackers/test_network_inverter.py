import numpy as np
import pytest
import torch

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.linear_inverter import LinearInverterAttacker
from pytest_injectivity.privacy.attackers.network_inverter import NetworkInverterAttacker
from pytest_injectivity.privacy.evaluation.attack import run_attacks
from pytest_injectivity.privacy.releases.base import DeterministicRelease
from pytest_injectivity.privacy.releases.protocol import Release
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import by_name, case, drawn_prompts

_BOTH = (LinearInverterAttacker(), NetworkInverterAttacker())


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    """A generic decoder."""
    return tiny_decoder("gpt2")


def _rates(
    decoder: Decoder, release: str | Release, *, vocab: int = 64, examples: int = 400
) -> dict[str, float]:
    """The rates of both inverters on prompts of the first few tokens."""
    named = [release] if isinstance(release, str) else {"release": release}
    prompts = drawn_prompts(12, 5, vocab=vocab)
    practice = [
        ids for ids in drawn_prompts(examples, 5, vocab=vocab, seed=1) if ids not in prompts
    ]
    sent = case(decoder, "1", named, prompts, practice=practice)
    found = by_name(run_attacks(decoder, [sent], seed=0, attackers=_BOTH))
    return {attacker: one.token_rate for (_, attacker, _), one in found.items()}


class _Flipped(DeterministicRelease):
    """Sends each row or its opposite: the mean of a token's released rows is nothing."""

    def apply(self, rows: torch.Tensor, draw: np.random.Generator) -> torch.Tensor:
        """The rows times 1 or -1."""
        return rows * torch.from_numpy(draw.choice([-1.0, 1.0], (len(rows), 1))).to(rows)


def test_it_reads_what_is_not_linear(decoder: Decoder) -> None:
    """Rows that may be sent as their opposites have no means that the linear inverter could learn."""
    found = _rates(decoder, _Flipped(decoder.hidden_size), vocab=8)
    assert found["network inverter"] >= found["linear inverter"] + 0.3


def test_it_reads_what_is_linear(decoder: Decoder) -> None:
    """Of noise in few directions it trusts the linear inverter."""
    found = _rates(decoder, "lowrank(rank=2, sigma=20 rel)")
    assert found["network inverter"] >= found["linear inverter"] - 0.1


def test_nothing_is_read_of_drowned_rows(decoder: Decoder) -> None:
    """Fresh noise of 100 norms: at most chance (1 in 64) and what 60 tokens leave to luck."""
    found = _rates(decoder, "gaussian(sigma=100 rel)")
    assert found["network inverter"] <= 0.1


def test_of_few_examples_none_can_be_held_out(decoder: Decoder) -> None:
    """The linear inverter is run alone."""
    assert ["linear inverter"] == list(_rates(decoder, "identity", examples=19))
