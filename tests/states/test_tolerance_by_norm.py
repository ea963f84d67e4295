"""The tolerance of a state of some length at some position."""

import math

import pytest
import torch

from pytest_injectivity.errors import OptionError
from pytest_injectivity.states.tolerance_by_norm import ToleranceByNorm, coarser, sinks


@pytest.mark.parametrize(
    ("position", "norm", "tolerance"),
    [
        (0, 100.0, 9.0),
        (0, 801.0, 9.0 * 8.01),
        (1, 8.0, 0.5),  # eight times the median is no sink
        (1, 0.01, 0.5),  # nor has a short state a tolerance of its own
        (7, 40.0, 20.0),
    ],
)
def test_it_is_that_of_the_position_and_a_sink_has_its_share(
    position: int, norm: float, tolerance: float
) -> None:
    """The last number serves all positions after it."""
    found = ToleranceByNorm((9.0, 0.5), (100.0, 1.0)).at(position, norm)
    assert tolerance == pytest.approx(found, rel=1e-12)


def test_an_error_that_was_stated_does_not_grow() -> None:
    """Only what is on top of it does."""
    assert 3.0 + 40 * 0.5 == ToleranceByNorm((3.5,), (1.0,), fixed=(3.0,)).at(2, 40.0)


@pytest.mark.parametrize("norm", [math.nan, math.inf])
def test_a_state_that_is_not_finite_is_no_sink(norm: float) -> None:
    """Its tolerance would be infinite."""
    assert 1.0 == coarser(norm, 1.0)
    assert not sinks(torch.tensor([norm], dtype=torch.float64), 1.0).any()


def test_without_a_length_to_compare_with_nothing_is_a_sink() -> None:
    """Half of the states are 0."""
    assert 1.0 == coarser(5.0, 0.0)


@pytest.mark.parametrize(
    ("values", "norms", "fixed"),
    [
        ((), (1.0,), (0.0,)),
        ((1.0,), (), (0.0,)),
        ((1.0,), (1.0,), ()),
        ((-1.0,), (1.0,), (0.0,)),
        ((math.nan,), (1.0,), (0.0,)),
        ((math.inf,), (1.0,), (0.0,)),
        ((1.0,), (math.nan,), (0.0,)),
        ((1.0,), (-1.0,), (0.0,)),
        ((1.0, 0.5), (1.0,), (0.0, 0.6)),
        ((1.0,), (1.0,), (-0.1,)),
    ],
)
def test_what_is_no_tolerance_is_refused(
    values: tuple[float, ...], norms: tuple[float, ...], fixed: tuple[float, ...]
) -> None:
    """A negative one would accept nothing, NaN would make no state a sink."""
    with pytest.raises(OptionError, match="is no tolerance"):
        ToleranceByNorm(values, norms, fixed)
