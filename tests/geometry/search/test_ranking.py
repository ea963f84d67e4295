"""The first of each row's candidates and of a tile's entries, against a sort of each row by itself."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.geometry.search.ranking import first_k, ranks, smallest

candidates = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 9), st.integers(0, 3)), max_size=40, unique=True
)


def test_ranks_count_within_each_row() -> None:
    """Entries of a row stand together; a row may have none."""
    assert [0, 1, 0, 0, 1, 2] == ranks(torch.tensor([0, 0, 2, 3, 3, 3]), 5).tolist()
    assert [] == ranks(torch.zeros(0, dtype=torch.int64), 3).tolist()


@given(candidates, st.integers(1, 4))
def test_the_k_nearest_of_each_row(found: list[tuple[int, int, int]], k: int) -> None:
    """By distance, then by candidate; where a row has fewer, infinitely far and -1."""
    columns = list(zip(*found, strict=True)) or [(), (), ()]
    left, right = (torch.tensor(one, dtype=torch.int64) for one in columns[:2])
    nearest, index = first_k(left, right, torch.tensor(columns[2], dtype=torch.float64), 5, k)
    rows = [sorted((far, to) for at, to, far in found if at == row)[:k] for row in range(5)]
    padded = [row + [(torch.inf, -1)] * (k - len(row)) for row in rows]
    assert [[far for far, _ in row] for row in padded] == nearest.tolist()
    assert [[to for _, to in row] for row in padded] == index.tolist()


@given(st.integers(1, 200), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_the_smallest_entries_of_each_row(width: int, k: int, seed: int) -> None:
    """Columns that fill no group count too, and so do equal and infinite entries."""
    generator = torch.Generator().manual_seed(seed)
    tile = torch.randint(0, 40, (5, width), generator=generator).float()
    tile[tile > 30] = torch.inf
    k = min(k, width)
    values, columns = smallest(tile, k)
    assert tile.sort(dim=1).values[:, :k].equal(values)
    assert tile.gather(1, columns).equal(values)
    assert [k] * 5 == [len(set(row)) for row in columns.tolist()]
