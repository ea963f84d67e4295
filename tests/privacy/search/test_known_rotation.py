import pytest
import torch
from torch import Tensor

from pytest_injectivity.privacy.releases.rotation import random_rotation
from pytest_injectivity.privacy.search.known_rotation import KnownRotation


def _images(count: int, width: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, width, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("known", [0, 3, 6])
def test_an_image_and_its_row_have_the_same_coordinates(known: int) -> None:
    """In the known directions; and the lengths of the rest are equal."""
    turn = random_rotation(6, 1)
    images = _images(9)
    directions = random_rotation(6, 2)[:, :known]
    frame = KnownRotation(directions, turn.T @ directions)
    torch.testing.assert_close(frame.of_images(images), frame.of_rows(images @ turn))
    assert known + 1 == frame.of_images(images).shape[1]


def test_enough_pairs_determine_the_rotation() -> None:
    """As many as the width do, and rotated rows are turned back to their images."""
    images, turn = _images(6), random_rotation(6, 1)
    found = KnownRotation.of_pairs(images, images @ turn, 1e-9)
    assert found.is_whole
    torch.testing.assert_close(found.undone(images @ turn), images)


def test_few_pairs_determine_it_in_their_directions() -> None:
    """Rows of other directions are told apart by their length only."""
    images, turn = _images(9), random_rotation(6, 1)
    found = KnownRotation.of_pairs(images[:2], images[:2] @ turn, 1e-9)
    assert (6, 2) == found.before.shape
    torch.testing.assert_close(found.of_images(images), found.of_rows(images @ turn))


def test_directions_below_the_error_are_not_known() -> None:
    """What pairs say of a direction is noise where their rows have no length in it."""
    images, turn = _images(9), random_rotation(6, 1)
    images[:, 3:] *= 1e-6
    assert 3 == KnownRotation.of_pairs(images, images @ turn, 1e-3).before.shape[1]


def test_an_order_of_coordinates_takes_one_pair() -> None:
    """Coordinates are as many values as there are places, so that one row shows where each went."""
    images = _images(9)
    order = [3, 0, 5, 1, 4, 2]
    found = KnownRotation.of_permuted(images[:1], images[:1, order])
    assert found.is_whole
    assert torch.equal(images, found.undone(images[:, order]))
