"""Neighbors by an index: rows that are there, distances that are not too small, recall that is."""

import numpy as np
import pytest
import torch
from torch import Tensor

from pytest_injectivity.geometry.equal_rows import EqualRows
from pytest_injectivity.geometry.search.approximate import approximate_neighbors, neighbors_of
from pytest_injectivity.geometry.search.neighbors import nearest_neighbors
from tests import brute_force
from tests.adversaries import KINDS, draw_rows


def clustered(n: int, d: int = 16) -> Tensor:
    """Rows of the kind that an index of cells is made for."""
    centers = 5 * draw_rows("gaussian", 40, d, seed=1)
    return centers[torch.arange(n) % 40] + draw_rows("gaussian", n, d)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_distances_are_those_of_the_rows_named_and_never_too_small(kind: str) -> None:
    """An upper bound of each row's nearest distance, attained by another row."""
    rows = draw_rows(kind, 300, 12)
    found = approximate_neighbors(rows)
    every = brute_force.distances(rows)
    attained = every[np.arange(len(rows)), found.index]
    np.testing.assert_allclose(found.distance, attained, rtol=1e-14)
    nearest, _ = brute_force.nearest(rows)
    assert (found.distance >= nearest * (1 - 1e-14)).all()
    assert not (found.index == np.arange(len(rows))).any()


def test_recall_is_the_share_of_nearest_rows_found() -> None:
    """With the whole set as its sample, the estimate is the truth."""
    rows = clustered(4000)
    found = approximate_neighbors(rows, probed_cells=1, recall_sample=4000)
    right = int((found.distance == nearest_neighbors(rows).distance).sum())
    assert found.recall is not None
    assert (right, 4000) == (found.recall.found, found.recall.sample)
    assert 1000 < right < 4000


def test_more_probed_cells_find_more() -> None:
    """All cells probed are all rows looked at."""
    found = approximate_neighbors(clustered(2000), probed_cells=10_000)
    assert found.recall is not None
    assert found.recall.found == found.recall.sample


def test_equal_rows_are_at_distance_zero() -> None:
    """They are set apart before the index sees them."""
    rows = clustered(500)
    rows[100:120] = rows[7]
    found = approximate_neighbors(rows)
    assert [0.0] * 20 == found.distance[100:120].tolist()
    assert (100, 7) == (found.index[7], found.index[110])


@pytest.mark.parametrize(("most", "exact"), [(300, True), (299, False)])
def test_the_stated_number_of_rows_decides(*, most: int, exact: bool) -> None:
    """Up to it neighbors are exact and have no recall; beyond it they have one."""
    rows = clustered(300)
    found = neighbors_of(rows, EqualRows.of(rows), exact_rows=most)
    assert exact == (found.recall is None)
