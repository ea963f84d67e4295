import pytest
import torch
from torch import Tensor

from pytest_injectivity.privacy.releases.protocol import Secret, draws
from pytest_injectivity.privacy.releases.steps.mix import MixRelease

IDS = (1, 2, 3)
_WIDTH = 16


@pytest.mark.parametrize("positions", [True, False])
def test_the_matrix_is_fresh_for_each_prompt_and_inverted(rows: Tensor, positions: bool) -> None:  # noqa: FBT001
    """The receiver has the draw of the prompt."""
    release = MixRelease(_WIDTH, positions=positions, orthogonal=False)
    sent, other = (release.apply(rows, draws(0, ids)) for ids in (IDS, (9,)))
    assert not torch.allclose(sent, other)
    torch.testing.assert_close(rows, release.undo(sent, draws(0, IDS)))


def test_an_orthogonal_matrix_keeps_inner_products(rows: Tensor) -> None:
    """Of the rows where coordinates are mixed, of the coordinates where positions are."""
    sent, mixed = (
        MixRelease(_WIDTH, positions=positions, orthogonal=True).apply(rows, draws(0, IDS))
        for positions in (False, True)
    )
    torch.testing.assert_close(rows @ rows.T, sent @ sent.T, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(rows.T @ rows, mixed.T @ mixed, atol=1e-4, rtol=1e-4)


def test_an_invertible_matrix_keeps_lengths_within_a_factor_of_two(rows: Tensor) -> None:
    """So that float32 inverts it, and inner products are not kept."""
    sent = MixRelease(_WIDTH, positions=False, orthogonal=False).apply(rows, draws(0, IDS))
    ratio = torch.linalg.vector_norm(sent, dim=1) / torch.linalg.vector_norm(rows, dim=1)
    assert bool(((ratio > 0.5) & (ratio < 2.0)).all())
    assert not torch.allclose(rows @ rows.T, sent @ sent.T, atol=0.1)


def test_what_is_hidden() -> None:
    """No released row is a position's where positions are mixed."""
    positions, coordinates = (
        MixRelease(_WIDTH, positions=one, orthogonal=True) for one in (True, False)
    )
    assert (Secret.MIXED_POSITIONS, False) == (positions.secret, positions.ordered)
    assert (Secret.MIXED_COORDINATES, True) == (coordinates.secret, coordinates.ordered)
