import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.privacy.releases.base import NoiseRelease
from pytest_injectivity.privacy.releases.composition import ChainedRelease
from pytest_injectivity.privacy.releases.mean import MeanRelease
from pytest_injectivity.privacy.releases.noise import Noise
from pytest_injectivity.privacy.releases.protocol import Release, Secret, draws
from pytest_injectivity.privacy.releases.steps.permute import PermuteRelease
from pytest_injectivity.privacy.releases.steps.rotate import RotateRelease

IDS = (1, 2, 3)
_WIDTH = 16


def _noisy(sigma: float) -> Release:
    return NoiseRelease(_WIDTH, Noise.isotropic(_WIDTH, sigma))


def test_noise_averages_out() -> None:
    """Of four releases half of it remains, as the law says that attackers know."""
    zeros, mean = torch.zeros(4000, _WIDTH), MeanRelease(_noisy(2.0), 4)
    drawn = mean.apply(zeros, draws(0, IDS))
    assert np.isclose(1.0, mean.noise.rms)
    assert abs(float(drawn.std()) - 1.0) < 0.02


def test_of_one_release_the_mean_is_the_release(rows: Tensor) -> None:
    """The first draw is the one that all other attackers see, in a chain as well."""
    release = ChainedRelease((_noisy(1.0), _noisy(2.0)))
    sent = release.apply(rows, draws(0, IDS))
    assert torch.equal(sent.double(), MeanRelease(release, 1).apply(rows, draws(0, IDS)))
    twice = MeanRelease(release, 2).apply(rows, draws(0, IDS))
    assert not torch.equal(sent.double(), twice)


def test_what_is_hidden_stays_hidden(rows: Tensor) -> None:
    """Order and secret are those of each release; nobody undoes a mean."""
    mean = MeanRelease(ChainedRelease((PermuteRelease(_WIDTH), RotateRelease(_WIDTH, 1))), 3)
    assert (False, Secret.ROTATION) == (mean.ordered, mean.secret)
    assert torch.equal(rows, mean.image(rows))
    assert torch.equal(rows, mean.undo(rows, draws(0, IDS)))
