import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.geometry.search.shortlists import Shortlists


def _rows(n: int, seed: int) -> torch.Tensor:
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))


def _distances(rows: torch.Tensor) -> np.ndarray:
    points = rows.double().numpy()
    apart = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(apart, np.inf)
    return apart


@given(st.integers(2, 80), st.integers(0, 3), st.data())
def test_minima_among_some_are_those_of_a_search_among_them(
    n: int, seed: int, data: st.DataObject
) -> None:
    """Of distances and of ratios, whichever half it is."""
    rows = _rows(n, seed)
    # Of more than 25 rows a list may hold none of a small share: at least half are drawn.
    least = 2 if n <= 25 else (n + 1) // 2
    some = np.array(
        sorted(data.draw(st.permutations(range(n)))[: data.draw(st.integers(least, n))])
    )
    generator = np.random.default_rng(seed)
    prompts = generator.integers(1, 9, (n, n)).astype(float)
    prompts = np.maximum(prompts, prompts.T)
    distances = _distances(rows)
    np.testing.assert_allclose(
        Shortlists.of_distances(rows).minima(some),
        distances[np.ix_(some, some)].min(axis=1),
        1e-12,
    )
    np.testing.assert_allclose(
        Shortlists.of_ratios(rows, prompts).minima(some),
        (distances / prompts)[np.ix_(some, some)].min(axis=1),
        1e-9,
    )


def test_rows_without_an_admissible_partner_have_no_minimum() -> None:
    """Neither in all nor in some; an equal row is a partner like any other."""
    rows = _rows(4, 0)
    rows[1] = rows[0]
    prompts = np.full((4, 4), np.inf)
    prompts[0, 1] = prompts[1, 0] = 2.0
    prompts[1, 2] = prompts[2, 1] = 1.0
    lists = Shortlists.of_ratios(rows, prompts)
    found = lists.minima(np.arange(4))
    assert 3 == len(found)
    np.testing.assert_allclose(found[:2], 0.0, atol=1e-7)
    assert 0 == len(lists.minima(np.array([0, 2, 3])))


@pytest.mark.parametrize("n", [2, 24, 25, 26])
def test_short_sets_are_listed_whole(n: int) -> None:
    """As many as there are others, at most 24."""
    assert (n, min(24, n - 1)) == Shortlists.of_distances(_rows(n, 1)).value.shape
    ratios = Shortlists.of_ratios(_rows(n, 1), np.ones((n, n)))
    assert (n, min(24, n - 1)) == ratios.value.shape
    assert (np.diff(ratios.value, axis=1) >= 0).all()
