import torch
from torch import Tensor

from pytest_injectivity.privacy.releases.protocol import Secret, draws
from pytest_injectivity.privacy.releases.steps.permute_coordinates import PermuteCoordinatesRelease

IDS = (1, 2, 3)
_WIDTH = 16


def test_all_rows_have_their_coordinates_in_one_order(rows: Tensor) -> None:
    """The same for two prompts, another with another seed, and put back by the receiver."""
    release = PermuteCoordinatesRelease(_WIDTH, 1)
    sent = release.apply(rows, draws(0, IDS))
    assert not torch.equal(rows, sent)
    assert torch.equal(rows.sort().values, sent.sort().values)
    assert torch.equal(sent, release.apply(rows, draws(0, (9,))))
    assert not torch.equal(sent, PermuteCoordinatesRelease(_WIDTH, 2).apply(rows, draws(0, IDS)))
    assert torch.equal(rows, release.undo(sent, draws(0, IDS)))


def test_a_known_key_hides_nothing(rows: Tensor) -> None:
    """The attacker permutes its candidates as well."""
    secret, known = (PermuteCoordinatesRelease(_WIDTH, 1, known=known) for known in (False, True))
    assert (Secret.PERMUTATION, Secret.NOTHING) == (secret.secret, known.secret)
    assert torch.equal(rows, secret.image(rows))
    assert torch.equal(known.apply(rows, draws(0, IDS)), known.image(rows))
