import pytest

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.argmin import ArgminAttacker
from pytest_injectivity.privacy.attackers.ball import BallAttacker
from pytest_injectivity.privacy.attackers.mahalanobis import MahalanobisAttacker
from pytest_injectivity.privacy.evaluation.attack import run_attacks
from pytest_injectivity.testing import plant_equal_embeddings, tiny_decoder
from tests.attacks import attacks, by_name, case, drawn_prompts

PROMPTS = drawn_prompts(2, 3)
_BOTH = (BallAttacker(), ArgminAttacker())


@pytest.mark.parametrize(
    ("family", "place"),
    [("gpt2", "1"), ("gpt2", "2"), ("llama", "norm"), ("mistral", "2"), ("mamba", "2")],
)
def test_states_as_they_are_give_every_prompt_away(family: str, place: str) -> None:
    """At every layer, teacher-forced and free-running; the ball vouches for every answer."""
    found = attacks(tiny_decoder(family), place, ["identity"], PROMPTS, free_running=1)
    exact = {"ball", "argmin", "mahalanobis", "prior", "beam"}
    strong = {key: one for key, one in found.items() if key[1] in exact}
    assert exact == {key[1] for key in strong}
    assert [1.0] * len(strong) == [one.token_rate for one in strong.values()]
    assert found["identity", "ball", True].verified_rate == 1.0


@pytest.mark.parametrize(
    ("family", "place"), [("gpt2", "2 keys"), ("llama", "1 values"), ("mistral", "2 kv")]
)
def test_a_cache_as_it_is_gives_every_prompt_away(family: str, place: str) -> None:
    """Keys alone, values alone, and both."""
    found = attacks(tiny_decoder(family), place, ["identity"], PROMPTS, free_running=1)
    exact = {"ball", "argmin", "collision", "mahalanobis", "prior"}
    strong = {key: one for key, one in found.items() if key[1] in exact}
    assert exact == {key[1] for key in strong}
    assert [1.0] * len(strong) == [one.prompt_rate for one in strong.values()]


@pytest.mark.parametrize("release", ["gaussian(sigma=0.3)", "round(bits=3)"])
def test_what_the_ball_reads_argmin_reads(release: str) -> None:
    """The only candidate within reach is the nearest one, so the ball never reads more."""
    found = attacks(tiny_decoder("llama"), "2", [release], drawn_prompts(5, 3), attackers=_BOTH)
    ball, argmin = found[release, "ball", True], found[release, "argmin", True]
    assert not (ball.right & ~argmin.right).any()
    assert ball.token_rate <= argmin.token_rate


def test_noise_that_defeats_the_ball_and_not_argmin() -> None:
    """The ball verifies few tokens where the nearest candidate is right for most of them."""
    decoder, release = tiny_decoder("llama"), "gaussian(sigma=0.25)"
    found = attacks(decoder, "1", [release], drawn_prompts(10, 3), attackers=_BOTH)
    assert found[release, "ball", True].token_rate < 0.5
    assert found[release, "argmin", True].token_rate > 0.9


def test_a_ball_that_holds_several_tokens_names_none() -> None:
    """Two tokens with equal embedding rows have equal images, so the ball has no answer."""
    decoder = plant_equal_embeddings(tiny_decoder("llama"), kept=3, copied=7)
    found = attacks(
        decoder, "1", ["identity"], [(3, 9), (7, 9), (1, 2)], attackers=_BOTH, keep_ids=True
    )
    ball, argmin = found["identity", "ball", True], found["identity", "argmin", True]
    assert ((-1, 9), (-1, 9), (1, 2)) == ball.ids
    assert ((3, 9), (3, 9), (1, 2)) == argmin.ids
    assert [[False, True], [False, True], [True, True]] == ball.verified.tolist()


def test_tokens_with_equal_images_stand_no_noise() -> None:
    """Half the distance to the nearest rival and the smallest harmful perturbation are both 0."""
    decoder = plant_equal_embeddings(tiny_decoder("llama"), kept=3, copied=7)
    sent = case(decoder, "1", ["identity"], [(3, 9), (7, 9), (1, 2)])
    (found,) = run_attacks(decoder, [sent], seed=0, attackers=_BOTH)
    assert found.robustness is not None
    assert 0.0 == found.robustness.certified[0] == found.robustness.worst_case[0]


def test_no_answer_about_another_models_states_is_verified() -> None:
    """Every state has a nearest candidate, but none within reach."""
    sent = case(tiny_decoder("llama", seed=1), "1", ["identity", "round(bits=8)"], PROMPTS)
    found = by_name(run_attacks(tiny_decoder("llama"), [sent], seed=0, free_running=0)).values()
    assert found
    assert {0.0} == {one.verified_rate for one in found}
    assert max(one.token_rate for one in found) < 0.5


def test_known_tokens_are_not_asked_for(decoder: Decoder) -> None:
    """A special token before every prompt is neither searched nor counted."""
    prompts = [(0, *ids) for ids in drawn_prompts(2, 2)]
    found = attacks(
        decoder, "1", ["identity"], prompts, known=(0,), attackers=(MahalanobisAttacker(),)
    )
    one = found["identity", "mahalanobis", False]
    assert [[False, True, True]] * 2 == one.judged.tolist()
    assert 1.0 == one.prompt_rate
