import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.privacy.releases.base import DeterministicRelease, NoiseRelease
from pytest_injectivity.privacy.releases.noise import Noise
from pytest_injectivity.privacy.releases.protocol import Secret, draws

IDS = (1, 2, 3)
_WIDTH = 16


def _gaussian(sigma: float, width: int = _WIDTH) -> NoiseRelease:
    return NoiseRelease(width, Noise.isotropic(width, sigma))


def test_a_deterministic_release_sends_its_image(rows: Tensor) -> None:
    """Nothing is drawn, hidden or shuffled, and the receiver takes the rows as they come."""
    release = DeterministicRelease(_WIDTH)
    sent = release.apply(rows, draws(0, IDS))
    assert torch.equal(sent, release.image(rows))
    assert torch.equal(sent, release.undo(sent, draws(0, IDS)))
    assert release.noise.is_none
    assert release.ordered
    assert release.secret is Secret.NOTHING


def test_noise_has_its_law() -> None:
    """Mean zero and the covariance said, over many rows."""
    factor = torch.zeros(1, 4, dtype=torch.float64)
    factor[0, 2] = 3.0
    release = NoiseRelease(4, Noise(torch.full((4,), 0.5, dtype=torch.float64), factor))
    rows = torch.zeros(20_000, 4, dtype=torch.float64)
    drawn = release.apply(rows, draws(0, IDS)).numpy()
    assert np.abs(drawn.mean(axis=0)).max() < 0.1
    expected = np.diag([0.25, 0.25, 9.25, 0.25])
    assert np.abs(np.cov(drawn.T) - expected).max() < 0.3
    assert torch.equal(rows, release.image(rows))


def test_noise_is_another_for_each_prompt_and_the_same_at_each_strength() -> None:
    """Common random numbers: twice the strength is twice the noise, not another draw."""
    zeros = torch.zeros(3, _WIDTH, dtype=torch.float64)
    one = _gaussian(0.5).apply(zeros, draws(0, (1,)))
    assert torch.allclose(2 * one, _gaussian(1.0).apply(zeros, draws(0, (1,))))
    assert not torch.allclose(one, _gaussian(0.5).apply(zeros, draws(0, (2,))))
    assert torch.equal(one, _gaussian(0.5).undo(one, draws(0, (1,))))
