import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.reports.page.scales import decades, scale

numbers = st.floats(min_value=-1e12, max_value=1e12, allow_nan=False)


def test_numbers_near_each_other_are_drawn_from_zero() -> None:
    """Round numbers stand beside the axis."""
    axis = scale([1.0, 3.0], 100.0, 0.0)
    assert ["0", "1", "2", "3"] == [text for _, text in axis.ticks]
    assert [100.0, 0.0] == [axis.at(0.0), axis.at(3.0)]


def test_numbers_far_apart_are_drawn_by_factors() -> None:
    """Equal factors are equal steps."""
    axis = scale([1e-4, 1.0], 100.0, 0.0)
    assert axis.log
    assert axis.at(1e-2) == pytest.approx(50.0)
    assert ["10⁻⁴", "10⁻³", "10⁻²", "10⁻¹", "10⁰"] == [text for _, text in axis.ticks]


def test_counts_are_drawn_evenly_however_far_apart() -> None:
    """Half of the count is half of the bar."""
    found = scale([1.0, 1000.0], 100.0, 0.0, even=True)
    assert (50.0, 0.0) == (found.at(500.0), found.at(1000.0))
    assert "1000" == found.ticks[-1][1]


def test_few_factors_of_ten_are_written_out() -> None:
    """They are easier to read."""
    assert ["0.1", "1", "10", "100"] == [text for _, text in scale([0.2, 99.0], 100.0, 0.0).ticks]


def test_a_zero_has_a_place_below_the_factors() -> None:
    """A collision is what the axis must not hide."""
    axis = scale([0.0, 1e-3, 1.0], 100.0, 0.0, band=10.0)
    assert (100.0, "0") == axis.ticks[0]
    assert axis.at(1e-3) == pytest.approx(90.0)
    assert 100.0 == axis.at(0.0)


def test_a_base_is_on_the_axis() -> None:
    """Shares of the parent's numbers are read against 1."""
    axis = scale([1.02, 1.08], 100.0, 0.0, base=1.0)
    assert axis.at(1.0) == pytest.approx(100.0)
    assert axis.at(1.08) < 30.0


@pytest.mark.parametrize("values", [[], [0.0], [2.5], [1.0, 1.0 + 1e-15]])
def test_an_axis_without_a_length_gets_one(values: list[float]) -> None:
    """Nothing, zeros and equal numbers are drawn as well."""
    axis = scale(values, 100.0, 0.0, base=values[0] if values else 0.0)
    assert axis.low < axis.high
    assert 2 <= len(axis.ticks) <= 12


@given(st.lists(numbers, max_size=8))
def test_every_number_is_between_the_ends(values: list[float]) -> None:
    """Whatever was measured."""
    axis = scale(values, 100.0, 0.0, band=10.0)
    places = [axis.at(value) for value in values] + [place for place, _ in axis.ticks]
    assert all(math.isfinite(place) and -1e-6 <= place <= 100.0 + 1e-6 for place in places)
    assert len(axis.ticks) < 15


EXTREME = [5e-324, 1e-310, 1e-3, 1.0, 1.7e308, -1.7e308]


@given(st.lists(st.sampled_from(EXTREME), min_size=1, max_size=4))
def test_the_least_and_the_largest_floats_are_drawn(values: list[float]) -> None:
    """A file may hold them, although nothing measures them."""
    positive = list(map(abs, values))
    axes = (scale(values, 100.0, 0.0, base=values[0]), decades(positive, positive, 0.0, 100.0))
    places = [axis.at(value) for axis in axes for value in values]
    ticks = [place for axis in axes for place, _ in axis.ticks]
    assert all(0.0 <= place <= 100.0 for place in places)
    assert all(math.isfinite(place) for place in ticks)
