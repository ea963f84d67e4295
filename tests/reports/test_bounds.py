import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.reports.bounds import short_bounds


@pytest.mark.parametrize(
    ("said", "short"),
    [
        ("a bound of at most 0.05937733416012034", "a bound of at most 0.05937"),
        ("relative of at least 0.10351683954706466", "relative of at least 0.1036"),
        ("eps below 1.2345678e-07", "eps below 1.234e-07"),
        ("a bound of at most 123456.75", "a bound of at most 1.234e+05"),
        ("at_most of at least 1.00001", "at_most of at least 1.001"),
        ("bits of at least 4", "bits of at least 4"),
        ("max_rate of at least 0.5", "max_rate of at least 0.5"),
        ("tolerance={'margin': 0.123456789}", "tolerance={'margin': 0.123456789}"),
        ("no bound: 150 prompts prove none at 95%", "no bound: 150 prompts prove none at 95%"),
    ],
)
def test_numbers_are_shortened_to_the_side_that_passes(said: str, short: str) -> None:
    """Least bounds up, largest ones down; what fits stays as it is."""
    assert short == short_bounds(said)


@given(st.floats(1e-12, 1e12))
def test_what_is_shown_would_have_passed(value: float) -> None:
    """Whatever was measured."""
    least, most = (
        float(short_bounds(f"at {which} {value!r}").split()[-1]) for which in ("least", "most")
    )
    assert most <= value <= least
    assert least - most <= 2e-3 * value
