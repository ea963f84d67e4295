"""Memory written to again and again."""

import torch

from pytest_injectivity.geometry.search.scratch import Scratch


def test_one_name_is_one_block_of_memory() -> None:
    """A smaller tensor lies where the larger one lay."""
    scratch, like = Scratch(), torch.zeros(1)
    large = scratch.tensor("tile", (4, 8), like)
    small = scratch.tensor("tile", (3, 5), like)
    assert (3, 5) == tuple(small.shape)
    assert large.data_ptr() == small.data_ptr()


def test_a_larger_tensor_gets_larger_memory() -> None:
    """With the dtype that is asked for."""
    scratch, like = Scratch(), torch.zeros(1, dtype=torch.float64)
    scratch.tensor("tile", (2, 2), like)
    large = scratch.tensor("tile", (64, 64), like).fill_(1.0)
    assert (64, 64) == tuple(large.shape)
    assert torch.float64 == large.dtype


def test_names_and_dtypes_do_not_share_memory() -> None:
    """What was written under another name stays."""
    scratch, like = Scratch(), torch.zeros(1)
    first = scratch.tensor("tile", (8,), like).fill_(1.0)
    scratch.tensor("other", (8,), like).fill_(2.0)
    scratch.tensor("tile", (8,), like.double()).fill_(3.0)
    assert [1.0] * 8 == first.tolist()
