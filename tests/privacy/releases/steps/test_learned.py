from collections.abc import Callable

import pytest
import torch

from pytest_injectivity.config.release_spec import parse
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.argmin import ArgminAttacker
from pytest_injectivity.privacy.attackers.lens import LensAttacker
from pytest_injectivity.privacy.attackers.linear_inverter import LinearInverterAttacker
from pytest_injectivity.privacy.evaluation.attack import run_attacks
from pytest_injectivity.privacy.releases.binding import bind
from pytest_injectivity.privacy.releases.observed import Observed
from pytest_injectivity.privacy.releases.protocol import draws
from pytest_injectivity.privacy.releases.steps.learned import LearnedRelease
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import by_name, case, drawn_prompts

Observe = Callable[..., Observed]


@pytest.fixture(scope="module")
def model() -> Decoder:
    """More coordinates than hide a token."""
    return tiny_decoder("llama", hidden=64)


def _bound(observed: Observed, sigma: float = 0.5) -> LearnedRelease:
    found = bind(parse(f"learned(sigma={sigma})@1"), observed)
    assert isinstance(found, LearnedRelease)
    return found


def test_shift_and_noise_of_a_row_are_as_large_as_said(observed: Observe) -> None:
    """Together the root mean square of a coordinate is sigma, in every row."""
    found = observed("1")
    shift, loud = _bound(found).network(found.rows[0].double())
    assert torch.allclose(torch.ones(5).double(), (shift.square() + loud.square()).mean(dim=1))
    assert (loud > 0).all()
    assert 0 < _bound(found).noise.rms < 0.5


def test_what_is_added_depends_on_the_row_and_on_the_draw(observed: Observe) -> None:
    """Its mean over draws is the image, which everybody can compute."""
    found = observed("1")
    release, rows = _bound(found), found.rows[0]
    sent = torch.stack([release.apply(rows, draws(seed, (1,))) for seed in range(400)])
    assert torch.allclose(sent.mean(dim=0), release.image(rows), atol=0.15)
    added = release.image(rows) - rows
    assert not torch.allclose(added[0], added[1], atol=0.05)


def test_the_network_is_the_same_each_time(observed: Observe) -> None:
    """Trained from its seed alone; the prompts that are read do not matter."""
    other = observed("1", [(9, 9, 9, 9, 8)])
    one, two = (_bound(found).network.weights for found in (observed("1"), other))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_nearest_neighbors_lose_a_row_and_whoever_knows_the_network_does_not(
    model: Decoder,
) -> None:
    """The lens compares plain rows; examples and images tell what the network does."""
    practice = drawn_prompts(300, 3, seed=1)
    prompts = [ids for ids in drawn_prompts(20, 3) if ids not in practice]
    release = "learned(sigma=4 rel)"
    sent = case(model, "1", [release], prompts, practice=practice)
    attackers = (LensAttacker(), ArgminAttacker(), LinearInverterAttacker())
    found = by_name(run_attacks(model, [sent], seed=0, attackers=attackers, free_running=0))
    read = {
        name: found[release, name, True].token_rate
        for name in ("lens", "argmin", "linear inverter")
    }
    assert read["lens"] < 0.2
    assert read["linear inverter"] > 0.5
    assert read["argmin"] > 0.9
