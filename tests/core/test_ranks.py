import math

import numpy as np
import pytest
from scipy import stats

from pytest_injectivity.core.ranks import ranks, spearman
from pytest_injectivity.errors import OptionError


@pytest.mark.parametrize("count", [2, 3, 50])
def test_ranks_are_those_of_scipy(count: int) -> None:
    """Equal numbers share the mean of theirs."""
    values = np.random.default_rng(count).integers(5, size=count).tolist()
    assert stats.rankdata(values).tolist() == ranks(values)


def test_a_correlation_is_that_of_scipy() -> None:
    """With ties."""
    one, other = np.random.default_rng(0).integers(8, size=(2, 50)).tolist()
    assert float(stats.spearmanr(one, other).statistic) == pytest.approx(
        spearman(one, other), abs=1e-12
    )


def test_infinite_numbers_have_ranks() -> None:
    """And a reversed order correlates fully."""
    assert -1.0 == spearman([1.0, 2.0, math.inf], [3.0, 2.0, -math.inf])


@pytest.mark.parametrize("values", [[], [1.0], [5.0, 5.0]])
def test_without_an_order_there_is_no_correlation(values: list[float]) -> None:
    """No point, one point, equal points."""
    assert math.isnan(spearman(values, list(range(len(values)))))


def test_of_what_is_not_a_number_there_is_no_correlation() -> None:
    """It has no place in an order, on either side."""
    lost, fine = [1.0, math.nan, 3.0], [1.0, 2.0, 3.0]
    assert [True, True] == [math.isnan(spearman(*both)) for both in ((lost, fine), (fine, lost))]


def test_as_many_numbers_are_needed_of_both() -> None:
    """The message says how many there are."""
    with pytest.raises(OptionError, match="of 2 numbers with 3: give as many of both"):
        spearman([1.0, 2.0], [1.0, 2.0, 3.0])
