"""Projections: no pair is farther along the directions than in space, and no near pair is missed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.geometry.search.limits import SearchLimits
from pytest_injectivity.geometry.search.projections import Projections
from tests import brute_force
from tests.adversaries import any_rows, draw_rows


@given(rows=any_rows(), axes=st.integers(1, 5))
def test_a_projection_lengthens_no_distance(rows: Tensor, axes: int) -> None:
    """Along all directions together, up to the slack."""
    found = Projections.of(rows, axes)
    exact = torch.from_numpy(brute_force.distances(rows))
    along = torch.cdist(
        found.coordinates, found.coordinates, compute_mode="donot_use_mm_for_euclid_dist"
    )
    assert (along <= exact + found.slack).all()


def test_all_directions_are_the_whole_space() -> None:
    """As many directions as the width keep every distance; more are never used."""
    rows = draw_rows("gaussian", 20, 3, torch.float64)
    found = Projections.of(rows, 9)
    assert (20, 3) == tuple(found.coordinates.shape)
    torch.testing.assert_close(
        torch.cdist(found.coordinates, found.coordinates), torch.cdist(rows, rows)
    )


def test_the_widest_direction_comes_first() -> None:
    """Rows that spread 100, 10 and 1 along the axes of the space."""
    rows = draw_rows("gaussian", 500, 3, torch.float64) * torch.tensor([1.0, 100.0, 10.0])
    spread = Projections.of(rows, 3).coordinates.std(dim=0)
    torch.testing.assert_close(spread, rows.std(dim=0)[[1, 2, 0]], rtol=0.05, atol=0.0)


def test_the_slack_is_small_beside_the_rows() -> None:
    """A few units in the last place of float64, for the longest row there is."""
    found = Projections.of(draw_rows("norm 1e3", 50, 64, torch.float64), 4)
    assert 0 < found.slack < 1e-7


@pytest.mark.parametrize("together", [1, 7, 10**6])
@given(rows=any_rows(), share=st.floats(0, 1))
def test_no_pair_within_eps_is_missed(together: int, rows: Tensor, share: float) -> None:
    """Each candidate comes once, however many are looked at together."""
    exact = torch.from_numpy(brute_force.distances(rows))
    eps = share * float(exact.max())
    limits = SearchLimits(pairs_together=together)
    candidates = Projections.of(rows, 3, limits).pairs(eps)
    found = [
        tuple(sorted(pair))
        for left, right in candidates.within_all()
        for pair in zip(left.tolist(), right.tolist(), strict=True)
    ]
    near = set(map(tuple, (exact <= eps).triu(1).nonzero().tolist()))
    assert near <= set(found)
    assert len(found) == len(set(found)) <= candidates.total


def test_the_direction_that_leaves_the_fewest_candidates_is_taken() -> None:
    """Rows in two heaps along the widest direction and well apart along the other."""
    rows = torch.zeros(40, 2, dtype=torch.float64)
    rows[:, 0] = torch.tensor([-100.0, 100.0, 100.0, -100.0]).repeat(10)
    rows[:, 1] = torch.arange(40.0)
    found = Projections.of(rows, 2).pairs(0.5)
    assert (1, 0) == (found.axis, found.total)
