import math

import pytest

from scripts.reference_bag import coverage, interval
from tests.results.test_reference_bag import BAG


def test_an_interval_is_around_the_geometric_mean() -> None:
    """Wider than the numbers that it is made of, where they are few."""
    low, high = interval([1.0, 10.0, 100.0])
    assert pytest.approx(10.0) == math.sqrt(low * high)
    assert low < 0.1


def test_coverage_counts_each_model_by_the_others() -> None:
    """A row a model, and the share of all."""
    rows = list(coverage(BAG))
    assert "| left out | normalized_margin | normalized_margin_q |" in rows[0]
    assert 5 == sum("of 3 |" in row for row in rows)
    assert rows[-1].startswith("| all | – | ")
