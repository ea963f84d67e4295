import torch

from pytest_injectivity.privacy.search.row_network import (
    RowFeatures,
    RowNetwork,
    told_apart,
    train,
)


def test_first_and_later_rows_are_standardized_apart() -> None:
    """Attention sinks at position 0 do not shrink the other rows."""
    rows = torch.randn(200, 3, 4, generator=torch.Generator().manual_seed(0))
    rows[:, 0] = 1000 * rows[:, 0] + 50
    found = RowFeatures.of(rows)(rows)[..., 4:8]
    assert torch.allclose(torch.zeros(3, 4), found.mean(dim=0), atol=0.2)
    assert torch.allclose(torch.ones(3, 4), found.std(dim=0), atol=0.2)


def test_a_coordinate_that_never_changes_says_nothing() -> None:
    """Its rounding is not blown up."""
    found = RowFeatures.of(torch.full((5, 3, 2), 7.0))(torch.full((1, 3, 2), 7.0))
    assert torch.equal(torch.zeros(1, 3, 6), found)


def test_a_position_sees_its_neighbors() -> None:
    """And zeros before the first and behind the last."""
    rows = torch.randn(50, 3, 1, generator=torch.Generator().manual_seed(0))
    found = RowFeatures.of(rows)(rows)
    assert torch.equal(found[:, 0, 1], found[:, 1, 0])
    assert torch.equal(found[:, 2, 1], found[:, 1, 2])
    assert not found[:, 0, 0].any()
    assert not found[:, 2, 2].any()


def test_the_tokens_told_apart_do_not_grow_with_the_vocabulary() -> None:
    """Those of the examples and some others."""
    found = told_apart(torch.tensor([[7, 90_000]]), torch.arange(100_000), 0)
    assert {7, 90_000} <= set(found.tolist())
    assert len(found) <= 514


def _read(rows: torch.Tensor, places: torch.Tensor) -> float:
    """The share of 100 held-out rows that a network reads which learned from 300."""
    network = RowNetwork(rows.shape[1], torch.randn(8, 4))
    told = network.keys_of(torch.arange(8))
    train(network, (rows[:300], places[:300]), (rows[300:], places[300:]), told, 0)
    with torch.no_grad():
        return float((network(rows[300:], told).argmax(dim=1) == places[300:]).float().mean())


def test_what_can_be_learned_is_learned() -> None:
    """Rows that name their tokens."""
    torch.manual_seed(0)
    places = torch.randint(8, (400,))
    assert _read(torch.eye(8)[places], places) >= 0.9


def test_what_cannot_be_learned_is_not_read() -> None:
    """Rows of other tokens: chance is 1 in 8."""
    torch.manual_seed(0)
    places = torch.randint(8, (400,))
    assert _read(torch.eye(8)[places[torch.randperm(400)]], places) <= 0.3
