import torch
from torch import Tensor

from pytest_injectivity.privacy.releases.protocol import Secret, draws
from pytest_injectivity.privacy.releases.steps.rotate import RotateRelease

IDS = (1, 2, 3)
_WIDTH = 16


def test_the_receiver_turns_back_what_the_sender_turned(rows: Tensor) -> None:
    """The key is the seed; an attacker has the image only where the key is known."""
    secret, known = RotateRelease(_WIDTH, 5), RotateRelease(_WIDTH, 5, known=True)
    sent = secret.apply(rows, draws(0, IDS))
    assert not torch.allclose(rows, sent, atol=1e-2)
    assert torch.allclose(rows, secret.undo(sent, draws(0, IDS)), atol=1e-6)
    assert torch.equal(rows, secret.image(rows))
    assert torch.equal(sent, known.image(rows))
    assert (Secret.ROTATION, Secret.NOTHING) == (secret.secret, known.secret)
