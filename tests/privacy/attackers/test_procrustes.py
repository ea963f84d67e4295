import pytest
import torch

from pytest_injectivity.privacy.attackers.procrustes import KnownRotation
from pytest_injectivity.privacy.releases.rotation import random_rotation
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import attacks, drawn_prompts


@pytest.mark.parametrize("place", ["2", "1 kv"])
def test_a_secret_rotation_alone_is_broken(place: str) -> None:
    """Norms give the first tokens, and those the rotation, told the truth or not."""
    found = attacks(tiny_decoder("llama"), place, ["rotate(seed=5)"], drawn_prompts(6, 4))
    assert {"procrustes"} == {key[1] for key in found}
    told, free = (found["rotate(seed=5)", "procrustes", way] for way in (True, False))
    assert told.token_rate > 0.99
    assert free.token_rate > 0.9


def test_a_rotation_whose_key_is_known_hides_nothing() -> None:
    """It is part of every candidate's image."""
    found = attacks(tiny_decoder("llama"), "1", ["rotate(seed=5, key=known)"], drawn_prompts(2, 3))
    assert 1.0 == found["rotate(seed=5, key=known)", "argmin", True].prompt_rate
    assert not any(key[1] == "procrustes" for key in found)


def test_a_rotation_and_shuffling_together_are_attacked_by_nobody() -> None:
    """No entry: that says that they are not broken by these attackers, and no more."""
    found = attacks(tiny_decoder("llama"), "1", ["rotate|permute"], drawn_prompts(2, 3))
    assert not found


@pytest.mark.parametrize("known", [0, 3, 6])
def test_a_frame_sees_the_same_of_an_image_and_of_its_row(known: int) -> None:
    """Coordinates in known directions, and the length of what is left."""
    turn = random_rotation(6, 1)
    images = torch.randn(9, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    directions = random_rotation(6, 2)[:, :known]
    frame = KnownRotation(directions, turn.T @ directions)
    torch.testing.assert_close(frame.of_images(images), frame.of_rows(images @ turn))
    assert known + 1 == frame.of_images(images).shape[1]
