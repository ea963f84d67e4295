import pytest
import torch

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.argmin import ArgminAttacker
from pytest_injectivity.privacy.attackers.base import Attacker
from pytest_injectivity.privacy.attackers.difference import DifferenceAttacker
from pytest_injectivity.privacy.attackers.mahalanobis import MahalanobisAttacker
from pytest_injectivity.privacy.evaluation.attack import run_attacks
from pytest_injectivity.privacy.evaluation.results import AttackResult
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import by_name, case, drawn_prompts

PROMPTS = drawn_prompts(30, 3)
ATTACKERS: tuple[Attacker, ...] = (ArgminAttacker(), DifferenceAttacker(), MahalanobisAttacker())


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    """A generic decoder."""
    return tiny_decoder("gpt2")


def _read(decoder: Decoder, place: str, release: str) -> dict[str, AttackResult]:
    """What each attacker that is run reads."""
    sent = case(decoder, place, [release], PROMPTS)
    found = run_attacks(decoder, [sent], seed=0, attackers=ATTACKERS, free_running=0, keep_ids=True)
    return {attacker: one for (_, attacker, _), one in by_name(found).items()}


def test_one_noise_on_both_layers_hides_nothing(decoder: Decoder) -> None:
    """However loud it is: their difference has none, by whoever knows the law and whoever does not."""
    found = _read(decoder, "1 and 2", "same_noise(sigma=100 rel)")
    rates = {attacker: one.token_rate for attacker, one in found.items()}
    assert rates["difference"] == rates["mahalanobis"] == 1.0
    assert rates["argmin"] < 0.1
    assert _read(decoder, "1", "same_noise(sigma=100 rel)")["mahalanobis"].token_rate < 0.1


@pytest.mark.slow
def test_independent_noises_are_read_by_the_sum_of_log_likelihoods(decoder: Decoder) -> None:
    """At first positions, whose candidates are computed here, by each layer's own noise."""
    release, place = "gaussian(sigma=1 rel)", "1 and 2"
    sent = case(decoder, place, [release], PROMPTS)
    rows = torch.stack([one[0] for one in sent.observed.released(sent.releases[release], 0)])
    none = decoder.prefix(torch.empty(0, dtype=torch.long), 2)
    states = decoder.candidates(none, torch.arange(decoder.vocab_size), [1, 2])
    sigmas = sent.releases[release].noise.sigma[[-1, 0]]
    sides = torch.chunk(rows, 2, dim=1)[::-1]
    unlikely = sum(
        torch.cdist(side.double(), states[layer].double()).square() / (2 * sigma**2)
        for layer, side, sigma in zip((1, 2), sides, sigmas, strict=True)
    )
    expected = unlikely.argmin(dim=1).tolist()
    found = _read(decoder, place, release)["mahalanobis"]
    assert expected == [ids[0] for ids in found.ids]
    assert found.token_rate > 0.1 + max(
        _read(decoder, layer, release)["mahalanobis"].token_rate for layer in ("1", "2")
    )


@pytest.mark.parametrize(
    ("place", "release"), [("1", "gaussian(sigma=1)"), ("1 and 2", "round(bits=4)")]
)
def test_it_is_run_where_a_difference_may_say_more(
    decoder: Decoder, place: str, release: str
) -> None:
    """Not of one layer, and not where nothing is drawn."""
    assert "difference" not in _read(decoder, place, release)
