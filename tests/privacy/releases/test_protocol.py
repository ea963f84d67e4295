import numpy as np
import torch

from pytest_injectivity.privacy.releases.noise import Noise
from pytest_injectivity.privacy.releases.protocol import Release, draws
from pytest_injectivity.privacy.releases.steps.identity import IdentityRelease


def test_a_prompt_has_one_draw() -> None:
    """Whatever its place in the set; another prompt, and another seed, have their own."""
    assert draws(3, [1, 2]).random() == draws(3, (1, 2)).random()
    others = {draws(3, [1, 2]).random(), draws(3, [2, 1]).random(), draws(4, [1, 2]).random()}
    assert 3 == len(others)


def test_the_covariance_is_that_of_both_parts() -> None:
    """Independent noise on the diagonal, directions as their outer products."""
    noise = Noise(torch.tensor([1.0, 2.0]).double(), torch.tensor([[3.0, 1.0]]).double())
    expected = np.diag([1.0, 4.0]) + np.outer([3.0, 1.0], [3.0, 1.0])
    assert np.allclose(expected, noise.covariance())
    assert np.allclose(expected + 0.25 * np.eye(2), noise.covariance(0.5))
    assert np.isclose(np.sqrt(np.trace(expected) / 2), noise.rms)


def test_joined_noises_add_their_covariances() -> None:
    """They are drawn independently."""
    one = Noise(torch.tensor([1.0, 2.0]).double(), torch.tensor([[3.0, 1.0]]).double())
    other = Noise(torch.tensor([0.5, 0.0]).double(), torch.tensor([[0.0, 2.0]]).double())
    total = one.covariance() + other.covariance()
    assert np.allclose(total, one.joined(other).covariance())


def test_what_a_noise_is_like() -> None:
    """None, the same in every direction, or neither."""
    assert Noise.none(3).is_none
    assert Noise.none(3).is_isotropic
    assert 0.0 == Noise.none(3).rms
    assert Noise.isotropic(3, 0.5).is_isotropic
    assert not Noise.isotropic(3, 0.5).is_none
    uneven = Noise(torch.tensor([1.0, 2.0]).double(), torch.zeros(0, 2).double())
    assert not uneven.is_isotropic
    along = Noise(torch.zeros(2).double(), torch.ones(1, 2).double())
    assert not along.is_isotropic
    assert not along.is_none


def test_a_step_is_a_release() -> None:
    """By the protocol."""
    assert isinstance(IdentityRelease(4), Release)
