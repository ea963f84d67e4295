"""On a GPU every number is the CPU's, to the last bit."""

import numpy as np
import pytest
import torch
from torch import Tensor

from pytest_injectivity.geometry.equal_rows import EqualRows
from pytest_injectivity.geometry.search.closest_pair import closest_pair
from pytest_injectivity.geometry.search.near_pairs import pairs_within
from pytest_injectivity.geometry.search.neighbors import k_nearest
from pytest_injectivity.geometry.search.ratios import extreme_ratios
from pytest_injectivity.prompts.metrics import PairDistances, PromptMetric
from tests.adversaries import KINDS, draw_prompts, draw_rows

pytestmark = pytest.mark.gpu


@pytest.fixture(params=sorted(KINDS))
def rows(request: pytest.FixtureRequest) -> Tensor:
    """Rows of a kind, on the CPU."""
    return draw_rows(request.param, 700, 40)


def test_neighbors_are_those_of_the_cpu(rows: Tensor) -> None:
    """Distances and indexes."""
    here, there = k_nearest(rows, 5), k_nearest(rows.cuda(), 5)
    np.testing.assert_array_equal(here.distance, there.distance)
    np.testing.assert_array_equal(here.index, there.index)


def test_the_closest_pair_is_that_of_the_cpu(rows: Tensor) -> None:
    """The distance and the pair."""
    here, there = closest_pair(rows), closest_pair(rows.cuda())
    assert (here.distance, here.left, here.right) == (there.distance, there.left, there.right)


@pytest.mark.parametrize("share", [0.01, 0.5])
def test_near_pairs_are_those_of_the_cpu(rows: Tensor, share: float) -> None:
    """The count and the list, of few pairs and of many."""
    eps = float(np.quantile(k_nearest(rows, 20).distance, share))
    here, there = pairs_within(rows, eps, limit=100), pairs_within(rows.cuda(), eps, limit=100)
    assert here.count == there.count
    np.testing.assert_array_equal(here.distance, there.distance)
    np.testing.assert_array_equal(here.left, there.left)
    np.testing.assert_array_equal(here.right, there.right)


@pytest.mark.parametrize("extreme", ["smallest", "largest"])
def test_ratios_are_those_of_the_cpu(rows: Tensor, extreme: str) -> None:
    """The ratio and the partner of each row."""
    prompts = PairDistances(PromptMetric.LEVENSHTEIN, draw_prompts(len(rows)))
    here = extreme_ratios(rows, prompts, extreme)  # type: ignore[arg-type] - one of the two
    there = extreme_ratios(rows.cuda(), prompts, extreme)  # type: ignore[arg-type] - as above
    np.testing.assert_array_equal(here.ratio, there.ratio)
    np.testing.assert_array_equal(here.partner, there.partner)


def test_equal_rows_are_those_of_the_cpu(rows: Tensor) -> None:
    """The same pairs."""
    here, there = EqualRows.of(rows), EqualRows.of(rows.cuda())
    assert here.list_pairs(1000) == there.list_pairs(1000)


def test_a_hundred_thousand_wide_rows_have_the_neighbors_of_a_direct_search() -> None:
    """100,000 x 4,096 in bfloat16: a sample of rows is searched by subtraction."""
    generator = torch.Generator("cuda").manual_seed(0)
    rows = torch.randn(100_000, 4096, device="cuda", dtype=torch.bfloat16, generator=generator)
    found = k_nearest(rows, 1)
    for row in (0, 7, 99_999):
        parts = rows.split(4096)
        apart = torch.cat([(part.double() - rows[row].double()).norm(dim=1) for part in parts])
        apart[row] = torch.inf
        assert found.index[row, 0] == int(apart.argmin())
        assert found.distance[row, 0] == pytest.approx(float(apart.min()), rel=1e-12)
