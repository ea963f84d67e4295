import torch
from torch import Tensor

from pytest_injectivity.privacy.releases.protocol import draws
from pytest_injectivity.privacy.releases.steps.permute import PermuteRelease

IDS = (1, 2, 3)
_WIDTH = 16


def test_positions_are_shuffled_and_put_back(rows: Tensor) -> None:
    """The same rows in another order, drawn for the prompt."""
    release = PermuteRelease(_WIDTH)
    sent = release.apply(rows, draws(0, IDS))
    assert not torch.equal(rows, sent)
    assert sorted(rows.tolist()) == sorted(sent.tolist())
    assert torch.equal(rows, release.undo(sent, draws(0, IDS)))
    assert not torch.equal(sent, release.apply(rows, draws(0, (9,))))
    assert not release.ordered
