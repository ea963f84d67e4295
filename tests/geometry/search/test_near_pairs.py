"""Pairs within eps: all of them counted, the closest of them listed, none missed."""

from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.errors import OptionError
from pytest_injectivity.geometry.distances import pair_distances
from pytest_injectivity.geometry.search.limits import SearchLimits
from pytest_injectivity.geometry.search.near_pairs import NearPairs, pairs_within
from pytest_injectivity.geometry.search.neighbors import nearest_neighbors
from tests import brute_force
from tests.adversaries import DTYPES, FEW_KINDS, KINDS, any_rows, draw_rows, exact_rows
from tests.repetitions import mostly_slow

WAYS = {
    "all pairs": SearchLimits(few_pairs=10**9),
    "projections": SearchLimits(few_pairs=0, per_look=0.0),
    "products": SearchLimits(few_pairs=0, per_look=1e9, many_near=1e9),
    "counting": SearchLimits(few_pairs=0, per_look=1e9, many_near=-1.0, open_pairs=2.0),
    "counting in float64": SearchLimits(few_pairs=0, per_look=1e9, many_near=-1.0, open_pairs=-1.0),
}
"""What makes each way of searching the one that is taken."""


_IN_TURN = cycle(WAYS.values())


def within(rows: Tensor, eps: float, limit: int = 10_000) -> NearPairs:
    """`pairs_within` of rows whose neighbors are known, the same along each way in turn."""
    found = pairs_within(rows, eps, nearest_neighbors(rows), limit=limit)
    again = pairs_within(rows, eps, limit=limit, limits=next(_IN_TURN))
    assert found.count == again.count
    assert listed(found) == listed(again)
    return found


def listed(found: NearPairs) -> list[tuple[float, int, int]]:
    """The pairs as the reference writes them."""
    return list(
        zip(found.distance.tolist(), found.left.tolist(), found.right.tolist(), strict=True)
    )


@st.composite
def rows_and_eps(draw: st.DrawFn) -> tuple[Tensor, float]:
    """Any rows, and an eps between two of their distances: no rounding decides."""
    rows = draw(any_rows())
    apart = np.unique(brute_force.distances(rows))
    at = draw(st.integers(0, len(apart)))
    low = apart[at - 1] if at else 0.0
    high = apart[at] if at < len(apart) else 2 * apart[-1] + 1
    return rows, float(low / 2 + high / 2)


@given(case=rows_and_eps())
def test_any_rows_have_the_pairs_of_the_reference(case: tuple[Tensor, float]) -> None:
    """Count and distances, at any eps, of every kind, shape and dtype."""
    rows, eps = case
    expected, found = brute_force.near(rows, eps), within(rows, eps)
    assert len(expected) == found.count
    np.testing.assert_allclose(found.distance, [pair[0] for pair in expected], rtol=1e-14)
    assert {pair[1:] for pair in expected} == {pair[1:] for pair in listed(found)}


@given(rows=exact_rows(), squared=st.integers(0, 60), limit=st.integers(0, 40))
def test_the_closest_are_listed_and_ties_go_by_row(rows: Tensor, squared: int, limit: int) -> None:
    """Where distances are exact, the list is the reference's bit for bit, eps itself included."""
    eps = squared**0.5
    expected, found = brute_force.near(rows, eps), within(rows, eps, limit)
    assert len(expected) == found.count
    assert expected[:limit] == listed(found)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_many_rows_of_a_kind(kind: str, dtype: torch.dtype) -> None:
    """At the median distance, where half of all pairs count and few are listed."""
    rows = draw_rows(kind, 60, 12, dtype)
    eps = float(np.median(brute_force.distances(rows))) * (1 + 1e-9)
    expected, found = brute_force.near(rows, eps), within(rows, eps, limit=50)
    assert len(expected) == found.count
    np.testing.assert_allclose(found.distance, [pair[0] for pair in expected[:50]], rtol=1e-14)


@pytest.mark.parametrize("limit", [0, 30])
@pytest.mark.parametrize("kind", mostly_slow(sorted(KINDS), *FEW_KINDS))
@pytest.mark.parametrize("way", sorted(WAYS))
@pytest.mark.parametrize(("block", "tile"), [(35, (64, 64)), (120, (128, 64))])
def test_tile_and_chunk_sizes_change_nothing(
    kind: str, limit: int, way: str, block: int, tile: tuple[int, int]
) -> None:
    """Neither the count nor the list, to the bit."""
    rows = draw_rows(kind, 70, 5)
    eps = float(np.median(brute_force.distances(rows)))
    expected = pairs_within(rows, eps, limit=limit)
    limits = replace(
        WAYS[way],
        tile_rows=tile[0],
        tile_columns=tile[1],
        chunk_elements=20 * block,
        pairs_together=5 * block,
    )
    found = pairs_within(rows, eps, limit=limit, limits=limits)
    assert expected.count == found.count
    assert listed(expected) == listed(found)


def test_the_planted_near_collision_of_the_issue() -> None:
    """1e-6 apart in a coordinate of magnitude at most 1, rows of norm 1000."""
    rows = draw_rows("gaussian", 200, 64, torch.float64)
    rows[:, 7] = 0.25
    rows = (rows * 1000 / torch.linalg.vector_norm(rows, dim=1, keepdim=True)).float()
    rows[:, 7] = 0.25
    rows[150] = rows[20]
    rows[150, 7] += 1e-6
    torch.testing.assert_close(
        torch.linalg.vector_norm(rows, dim=1), torch.full((200,), 1000.0), rtol=1e-2, atol=0
    )
    found = within(rows, 1e-5)
    assert [(20, 150)] == [pair[1:] for pair in listed(found)]
    assert 1e-6 == pytest.approx(found.distance[0], rel=0.05)
    assert within(rows, 1e-7).count == 0


def test_every_planted_pair_is_found_beside_a_large_mean() -> None:
    """Ten pairs 1e-4 apart among rows that share an offset of 1e6, in float64."""
    rows = draw_rows("offset 1e6", 300, 32, torch.float64)
    rows[:10] = rows[100:110]
    rows[:10, 3] += 1e-4
    found = within(rows, 1.1e-4)
    assert [(at, 100 + at) for at in range(10)] == sorted(pair[1:] for pair in listed(found))
    assert within(rows, 0.9e-4).count == 0


@given(rows=any_rows())
def test_eps_zero_gives_the_exact_collisions(rows: Tensor) -> None:
    """The same pairs, found another way."""
    found = within(rows, 0.0)
    assert brute_force.colliding(rows) == sorted(pair[1:] for pair in listed(found))


@given(rows=any_rows(), at=st.integers(0, 400))
def test_a_distance_is_within_itself(rows: Tensor, at: int) -> None:
    """The bound is inclusive, to the bit of the distance reported."""
    every = within(rows, float(2 * brute_force.distances(rows).max()))
    eps = float(every.distance[at % len(every.distance)])
    assert int((every.distance <= eps).sum()) == within(rows, eps).count


def test_no_pair_within_eps_is_no_pair() -> None:
    """The list is empty, and of the right type."""
    found = within(torch.tensor([[0.0], [1.0]]), 0.5)
    assert (0, []) == (found.count, listed(found))


@pytest.mark.parametrize("eps", [-1e-9, float("nan"), float("inf"), -float("inf")])
def test_an_eps_that_is_no_distance_is_refused(eps: float) -> None:
    """The message names the value and what is accepted."""
    with pytest.raises(OptionError, match=f"eps={eps!r} is not a distance.*at least 0"):
        within(torch.tensor([[0.0], [1.0]]), eps)


@pytest.mark.parametrize("eps", [1.0, 1e6])
def test_only_counting_looks_at_few_pairs(monkeypatch: pytest.MonkeyPatch, eps: float) -> None:
    """With limit=0, pairs that are surely near are counted and never subtracted."""
    rows = draw_rows("gaussian", 200, 3)
    nearest = nearest_neighbors(rows)
    looked_at = []
    subtract = pair_distances
    monkeypatch.setattr(
        "pytest_injectivity.geometry.search.near_search.pair_distances",
        lambda rows, left, right: looked_at.append(len(left)) or subtract(rows, left, right),
    )
    expected = len(brute_force.near(rows, eps))
    assert (
        expected
        == pairs_within(rows, eps, nearest, limit=0, limits=SearchLimits(many_near=1.0)).count
    )
    assert sum(looked_at) < 5 < expected


@pytest.mark.parametrize("way", sorted(WAYS))
def test_more_rows_than_a_sample_are_counted(way: str) -> None:
    """Integer rows, whose distances are exact: against all pairs at once."""
    rows = torch.randint(0, 30, (2100, 3), generator=torch.Generator().manual_seed(0)).double()
    apart = (rows[:, None] - rows).square_().sum(dim=2)
    expected = (int((apart <= 9).sum()) - len(rows)) // 2
    found = pairs_within(rows, 3.0, limit=10, limits=WAYS[way])
    assert expected == found.count
    assert 10 == len(found.left)
