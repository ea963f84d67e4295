"""What an `Audit` does beside its checks."""

from collections.abc import Callable

import torch
from torch import Tensor

from pytest_injectivity import Audit


def test_an_unloaded_model_is_loaded_again(
    additive: Callable[..., Audit], random_rows: Callable[..., Tensor]
) -> None:
    """A gate of several precisions unloads each model; what is asked later loads it again."""
    audit = additive(random_rows(8), [[0, 1], [0, 2], [0, 3]])
    ids = torch.tensor([[0, 1]])
    before = audit.decoder.states(ids, [1])[1]
    assert audit.target.loaded
    audit.unload()
    assert not audit.target.loaded
    assert before.equal(audit.decoder.states(ids, [1])[1])
