import pytest

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.argmin import ArgminAttacker
from pytest_injectivity.privacy.attackers.fixed_ball import FixedBallAttacker
from pytest_injectivity.privacy.evaluation.attack import run_attacks
from tests.attacks import attacks, by_name, case, drawn_prompts

PROMPTS = drawn_prompts(4, 4)


@pytest.mark.parametrize(("eps", "read"), [(1e-2, 1.0), (1e-12, 0.0)])
def test_it_reads_as_its_tolerance_allows(decoder: Decoder, eps: float, read: float) -> None:
    """Of states in float32 read in float64: the nearest candidate is right whatever the tolerance."""
    precise = decoder.as_float64()
    sent = case(decoder, "1", ["identity"], PROMPTS, attacker=precise)
    both = (FixedBallAttacker(eps), ArgminAttacker())
    found = by_name(run_attacks(precise, [sent], seed=0, attackers=both))
    rates = {attacker: one.token_rate for (_, attacker, _), one in found.items()}
    assert {"argmin": 1.0, "fixed ball": read} == rates


def test_it_vouches_for_nothing(decoder: Decoder) -> None:
    """A constant does not know how far evaluations lie apart."""
    (found,) = attacks(
        decoder, "1", ["identity"], PROMPTS, attackers=(FixedBallAttacker(),)
    ).values()
    assert 0.0 == found.verified_rate


def test_noise_is_not_its_release(decoder: Decoder) -> None:
    """All noise is above its tolerance."""
    assert not attacks(
        decoder, "1", ["gaussian(sigma=1)"], PROMPTS, attackers=(FixedBallAttacker(),)
    )
