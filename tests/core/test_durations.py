import pytest

from pytest_injectivity.core.durations import duration, size


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.0123, "0.012 s"),
        (9.94, "9.9 s"),
        (10, "10 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3599.7, "1 h"),
        (3600, "1 h"),
        (5400, "1 h 30 min"),
    ],
)
def test_a_duration_has_two_units_at_most(seconds: float, words: str) -> None:
    """Seconds are not counted where hours are."""
    assert words == duration(seconds)


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (2_500_000, "2.5 MB"), (10**18, "1e+03 PB")],
)
def test_a_size_has_three_digits(count: int, words: str) -> None:
    """Units are powers of a thousand, as in the options."""
    assert words == size(count)
