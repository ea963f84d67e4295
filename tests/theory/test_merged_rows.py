"""Which rows become equal, and by how much they move."""

import torch

from pytest_injectivity.theory.merged_rows import merged_rows

TABLE = torch.tensor([[0.0, 0.0], [3.0, 0.0], [6.0, 3.0], [1.0, 1.0]], dtype=torch.float64)


def test_a_chain_of_tokens_is_one_class() -> None:
    """0 is 1 at the first position and 1 is 2 at the second: all three go to their mean."""
    change = merged_rows(TABLE, ([0, 1, 3], [1, 2, 3]))
    assert change is not None
    assert [[3.0, 1.0]] * 3 + [[1.0, 1.0]] == (TABLE + change).tolist()


def test_chains_that_meet_are_one_class() -> None:
    """Two classes become one where a later position joins them."""
    change = merged_rows(TABLE, ([0, 2, 1], [1, 3, 3]))
    assert change is not None
    assert 1 == len((TABLE + change).unique(dim=0))


def test_other_lengths_have_no_such_change() -> None:
    """Their positions differ."""
    assert merged_rows(TABLE, ([0, 1], [0])) is None
