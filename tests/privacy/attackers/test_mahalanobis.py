import pytest

from pytest_injectivity.privacy.attackers.argmin import ArgminAttacker
from pytest_injectivity.privacy.attackers.ball import BallAttacker
from pytest_injectivity.privacy.attackers.mahalanobis import MahalanobisAttacker
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import attacks, drawn_prompts


@pytest.mark.parametrize("place", ["2", "1 kv"])
def test_noise_in_few_directions_fools_distances_and_not_the_likelihood(place: str) -> None:
    """Euclidean distances fail in the loud directions; the quiet directions identify every token."""
    release = "lowrank(rank=4, sigma=5)"
    attackers = (BallAttacker(), ArgminAttacker(), MahalanobisAttacker())
    found = attacks(
        tiny_decoder("llama"),
        place,
        [release],
        drawn_prompts(4, 3),
        attackers=attackers,
        free_running=1,
    )
    assert found[release, "ball", True].token_rate == 0.0
    assert found[release, "argmin", True].token_rate < 0.4
    assert found[release, "mahalanobis", True].token_rate == 1.0
    assert found[release, "mahalanobis", False].prompt_rate == 1.0


@pytest.mark.parametrize("release", ["gaussian(sigma=0.3)", "gaussian(sigma=0.3)|round(bits=6)"])
def test_noise_alike_in_all_directions_is_judged_by_distance(release: str) -> None:
    """Mahalanobis and Euclidean distances then rank candidates alike."""
    found = attacks(
        tiny_decoder("gpt2"),
        "1",
        [release],
        drawn_prompts(4, 3),
        attackers=(ArgminAttacker(), MahalanobisAttacker()),
        free_running=0,
    )
    argmin, mahalanobis = found[release, "argmin", True], found[release, "mahalanobis", True]
    assert (argmin.right == mahalanobis.right).all()
