import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.privacy.releases.protocol import Noise, Secret, draws
from pytest_injectivity.privacy.releases.steps import (
    CastRelease,
    DeterministicRelease,
    IdentityRelease,
    NoiseRelease,
    PermuteRelease,
    RotateRelease,
    RoundRelease,
    TopKRelease,
    random_rotation,
)

IDS = (1, 2, 3)
_WIDTH = 16
_DETERMINISTIC = [
    IdentityRelease(_WIDTH),
    RoundRelease(_WIDTH, 4),
    TopKRelease(_WIDTH, 3),
    CastRelease(_WIDTH, torch.bfloat16),
    CastRelease(_WIDTH, torch.float16),
    CastRelease(_WIDTH, torch.float8_e4m3fn),
]


def _gaussian(sigma: float, width: int = _WIDTH) -> NoiseRelease:
    return NoiseRelease(width, Noise.isotropic(width, sigma))


@pytest.mark.parametrize("release", _DETERMINISTIC, ids=repr)
def test_a_release_without_a_draw_is_its_own_image(
    release: DeterministicRelease, rows: Tensor
) -> None:
    """Row by row, so that an attacker can do to a candidate what the sender did to a state."""
    sent = release.apply(rows, draws(0, IDS))
    assert torch.equal(sent, release.image(rows))
    alone = torch.cat([release.image(row[None]) for row in rows])
    assert torch.equal(sent, alone)
    assert torch.equal(sent, release.undo(sent, draws(0, IDS)))
    assert release.noise.is_none
    assert release.ordered
    assert release.secret is Secret.NOTHING


@pytest.mark.parametrize(
    "release",
    [*_DETERMINISTIC, _gaussian(0.1), RotateRelease(_WIDTH, 1), PermuteRelease(_WIDTH)],
    ids=repr,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_shape_and_dtype_stay(
    release: DeterministicRelease, rows: Tensor, dtype: torch.dtype
) -> None:
    """And the rows given are not touched."""
    given_rows = rows.to(dtype)
    kept = given_rows.clone()
    for found in (release.apply(given_rows, draws(0, IDS)), release.image(given_rows)):
        assert (rows.shape, dtype) == (found.shape, found.dtype)
    assert torch.equal(kept, given_rows)


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 16])
def test_rounding_is_to_each_rows_own_grid(rows: Tensor, bits: int) -> None:
    """``step = max|x| / (2^(b-1) - 1)``, codes rounded half to even, in float64."""
    expected = []
    for row in rows.double().numpy():
        step = np.abs(row).max() / (2 ** (bits - 1) - 1)
        expected.append(np.round(row / step) * step)
    found = RoundRelease(_WIDTH, bits).image(rows)
    assert np.allclose(np.array(expected), found.double().numpy(), rtol=0, atol=1e-6)


def test_zeros_stay_zeros() -> None:
    """A row of zeros has no scale, and needs none."""
    zeros = torch.zeros(2, _WIDTH)
    for release in (RoundRelease(_WIDTH, 4), CastRelease(_WIDTH, torch.float8_e4m3fn)):
        assert torch.equal(zeros, release.image(zeros))


@pytest.mark.parametrize("kept", [1, 5, 15])
def test_topk_keeps_the_largest(rows: Tensor, kept: int) -> None:
    """By magnitude, as they are; the rest is zero."""
    found = TopKRelease(_WIDTH, kept).image(rows)
    for row, sent in zip(rows, found, strict=True):
        largest = sorted(range(_WIDTH), key=lambda at: -abs(float(row[at])))[:kept]
        assert [float(row[at]) if at in largest else 0.0 for at in range(_WIDTH)] == sent.tolist()


def test_a_cast_to_8_bits_overflows_nowhere() -> None:
    """An attention sink of 3,000 in each coordinate stays finite and within its digits."""
    rows = torch.full((1, _WIDTH), 3000.0) * torch.linspace(-1, 1, _WIDTH)
    found = CastRelease(_WIDTH, torch.float8_e4m3fn).image(rows)
    assert found.isfinite().all()
    # Three bits of mantissa, and subnormals below 2^-6 of the format's own scale.
    assert (found - rows).abs().max() <= 3000 * 2.0**-4


def test_a_cast_is_the_librarys(rows: Tensor) -> None:
    """There and back."""
    assert torch.equal(rows.bfloat16().float(), CastRelease(_WIDTH, torch.bfloat16).image(rows))


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


@given(st.integers(2, 12), st.integers(0, 50))
def test_a_rotation_is_orthogonal(width: int, seed: int) -> None:
    """Norms and inner products stay: that is what matching attackers use."""
    matrix = random_rotation(width, seed)
    assert np.allclose(np.eye(width), matrix @ matrix.T, atol=1e-12)
    assert not np.allclose(matrix, random_rotation(width, seed + 1))


def test_rotations_are_uniform() -> None:
    """The first coordinate of the first row: mean 0, variance 1/d, over many seeds."""
    firsts = np.array([float(random_rotation(3, seed)[0, 0]) for seed in range(2000)])
    assert abs(firsts.mean()) < 4 * math.sqrt(1 / 3 / 2000)
    assert abs(firsts.var() - 1 / 3) < 0.03


def test_the_receiver_turns_back_what_the_sender_turned(rows: Tensor) -> None:
    """The key is the seed; an attacker has the image only where the key is known."""
    secret, known = RotateRelease(_WIDTH, 5), RotateRelease(_WIDTH, 5, known=True)
    sent = secret.apply(rows, draws(0, IDS))
    assert not torch.allclose(rows, sent, atol=1e-2)
    assert torch.allclose(rows, secret.undo(sent, draws(0, IDS)), atol=1e-6)
    assert torch.equal(rows, secret.image(rows))
    assert torch.equal(sent, known.image(rows))
    assert (Secret.ROTATION, Secret.NOTHING) == (secret.secret, known.secret)


def test_positions_are_shuffled_and_put_back(rows: Tensor) -> None:
    """The same rows in another order, drawn for the prompt."""
    release = PermuteRelease(_WIDTH)
    sent = release.apply(rows, draws(0, IDS))
    assert not torch.equal(rows, sent)
    assert sorted(rows.tolist()) == sorted(sent.tolist())
    assert torch.equal(rows, release.undo(sent, draws(0, IDS)))
    assert not torch.equal(sent, release.apply(rows, draws(0, (9,))))
    assert not release.ordered
