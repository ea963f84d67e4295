import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.privacy.releases.base import NoiseRelease
from pytest_injectivity.privacy.releases.composition import ChainedRelease, SidewiseRelease
from pytest_injectivity.privacy.releases.noise import Noise
from pytest_injectivity.privacy.releases.protocol import Secret, draws
from pytest_injectivity.privacy.releases.steps.identity import IdentityRelease
from pytest_injectivity.privacy.releases.steps.mix import MixRelease
from pytest_injectivity.privacy.releases.steps.permute import PermuteRelease
from pytest_injectivity.privacy.releases.steps.permute_coordinates import PermuteCoordinatesRelease
from pytest_injectivity.privacy.releases.steps.rotate import RotateRelease
from pytest_injectivity.privacy.releases.steps.round import RoundRelease
from pytest_injectivity.privacy.releases.steps.topk import TopKRelease

IDS = (4, 5)
_WIDTH = 16


def _noisy(sigma: float, width: int = _WIDTH) -> NoiseRelease:
    return NoiseRelease(width, Noise.isotropic(width, sigma))


def test_steps_follow_one_another(rows: Tensor) -> None:
    """The image of each is what the next one gets."""
    chain = ChainedRelease((TopKRelease(_WIDTH, 5), RoundRelease(_WIDTH, 3)))
    expected = RoundRelease(_WIDTH, 3).image(TopKRelease(_WIDTH, 5).image(rows))
    assert torch.equal(expected, chain.image(rows))
    assert torch.equal(expected, chain.apply(rows, draws(0, IDS)))


def test_the_receiver_undoes_the_last_step_first(rows: Tensor) -> None:
    """Turned, shuffled, turned again: all of it comes back."""
    chain = ChainedRelease(
        (
            RotateRelease(_WIDTH, 1),
            PermuteRelease(_WIDTH),
            RotateRelease(_WIDTH, 2),
            PermuteRelease(_WIDTH),
        )
    )
    sent = chain.apply(rows, draws(0, IDS))
    assert not torch.allclose(rows, sent, atol=1e-2)
    assert torch.allclose(rows, chain.undo(sent, draws(0, IDS)), atol=1e-5)


def test_each_step_has_a_draw_of_its_own() -> None:
    """Two noises of one strength do not add up to one of twice the strength."""
    zeros = torch.zeros(4000, 2, dtype=torch.float64)
    drawn = ChainedRelease((_noisy(1.0, 2), _noisy(1.0, 2))).apply(zeros, draws(0, IDS))
    assert abs(float(drawn.var()) - 2.0) < 0.1


def test_a_chain_hides_what_any_step_hides() -> None:
    """Noise adds up; one shuffle takes the order, one secret rotation the directions."""
    chain = ChainedRelease((_noisy(3.0), RoundRelease(_WIDTH, 8), _noisy(4.0)))
    assert np.isclose(5.0, chain.noise.rms)
    assert chain.ordered
    assert chain.secret is Secret.NOTHING
    hidden = ChainedRelease(
        (IdentityRelease(_WIDTH), PermuteRelease(_WIDTH), RotateRelease(_WIDTH, 1))
    )
    assert not hidden.ordered
    assert hidden.secret is Secret.ROTATION


def test_a_rotation_hides_an_order_of_coordinates() -> None:
    """Whichever comes first, what attackers have to find is an orthogonal matrix."""
    both = PermuteCoordinatesRelease(_WIDTH, 1), RotateRelease(_WIDTH, 1)
    assert ChainedRelease(both).secret is Secret.ROTATION
    assert ChainedRelease(both[::-1]).secret is Secret.ROTATION
    assert ChainedRelease(both[:1]).secret is Secret.PERMUTATION


def test_what_mixing_and_rotation_hide_together() -> None:
    """A matrix for each prompt covers one for all, unless it mixes positions: then both are unknown."""
    rotation = RotateRelease(_WIDTH, 1)
    positions, coordinates = (
        MixRelease(_WIDTH, positions=one, orthogonal=True) for one in (True, False)
    )
    assert ChainedRelease((rotation, coordinates)).secret is Secret.MIXED_COORDINATES
    assert not Secret.MIXED_COORDINATES.is_shared
    assert ChainedRelease((rotation, positions)).secret is Secret.SEVERAL
    assert Secret.SEVERAL.is_shared


def test_sides_are_released_each_by_itself() -> None:
    """Small values are not rounded on the grid of large keys."""
    keys, values = torch.randn(5, 3) * 100, torch.randn(5, 2)
    sides = SidewiseRelease((RoundRelease(3, 4), RoundRelease(2, 4)), (3, 2))
    rows = torch.cat([keys, values], dim=1)
    expected = torch.cat([RoundRelease(3, 4).image(keys), RoundRelease(2, 4).image(values)], dim=1)
    assert torch.equal(expected, sides.apply(rows, draws(0, IDS)))
    assert torch.equal(expected, sides.image(rows))
    assert torch.equal(expected, sides.undo(expected, draws(0, IDS)))


def test_the_noise_of_sides_stands_on_their_coordinates() -> None:
    """Independent between the sides, drawn apart."""
    factor = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    low = NoiseRelease(2, Noise(torch.zeros(2, dtype=torch.float64), factor))
    sides = SidewiseRelease((_noisy(2.0, 3), low), (3, 2))
    expected = np.zeros((5, 5))
    expected[:3, :3] = 4 * np.eye(3)
    expected[3:, 3:] = 1.0
    assert np.allclose(expected, sides.noise.covariance())
    drawn = sides.apply(torch.zeros(4000, 5, dtype=torch.float64), draws(0, IDS))
    assert np.abs(np.cov(drawn.numpy().T) - expected).max() < 0.4


def test_sides_may_be_turned() -> None:
    """And are turned back."""
    sides = SidewiseRelease((RotateRelease(3, 1), RotateRelease(2, 1)), (3, 2))
    rows = torch.randn(4, 5)
    sent = sides.apply(rows, draws(0, IDS))
    assert torch.allclose(rows, sides.undo(sent, draws(0, IDS)), atol=1e-5)
    assert sides.secret is Secret.ROTATION
    assert sides.ordered
