"""What a resolution is made of: attention sinks and states that are not finite."""

import math

import torch

from pytest_injectivity.states.evaluations import Evaluations
from pytest_injectivity.states.resolution import Resolution
from pytest_injectivity.states.self_distances import SelfDistances

WAYS = ("alone", "padded")


def _measured(norms: list[float], apart: list[float]) -> Resolution:
    """Of states of these lengths, each evaluated in two ways that are so far apart."""
    states = torch.zeros(2, len(norms), 3)
    states[:, :, 0] = torch.tensor(norms)
    states[1, :, 1] = torch.tensor(apart)
    found = Evaluations(WAYS, states, torch.ones(2, len(norms), dtype=torch.bool))
    distances = SelfDistances()
    distances.widen(found)
    distances.measure(found)
    return distances.resolution()


def test_the_largest_distance_of_a_sink_is_not_the_ordinary_one() -> None:
    """It is the resolution all the same, and its ways are named."""
    found = _measured([1.0, 1.0, 1.0, 300.0], [0.25, 0.5, 0.125, 9.0])
    assert (9.0, 0.5, 1.0) == (found.distance, found.ordinary, found.median_norm)


def test_a_sink_makes_neither_the_scale_nor_the_radius_of_others() -> None:
    """One rounding of it is 300 of theirs."""
    found = _measured([1.0, 1.0, 1.0, 300.0], [0.25, 0.5, 0.125, 9.0])
    assert 0.5 == found.scale.values[1]
    assert (1.0, 300.0) == (found.ordinary_radius, found.radius)


def test_sinks_do_not_make_what_is_usual() -> None:
    """However many of the states they are, short of half."""
    found = _measured([1.0, 1.0, 1.0, 300.0, 300.0], [0.25, 0.25, 0.25, 9.0, 9.0])
    assert (0.25, 1.0) == (found.usual, found.usual_radius)


def test_a_radius_measured_on_sinks_alone_is_theirs() -> None:
    """There is no other state in a sample that small."""
    distances = SelfDistances()
    ways = torch.ones(2, 3, dtype=torch.bool)
    plain = torch.eye(3).repeat(2, 1, 1)
    plain[1] *= 1.5
    distances.widen(Evaluations(WAYS, plain, ways))
    distances.measure(Evaluations(WAYS, 300 * plain[:, :1], ways[:, :1]))
    found = distances.resolution()
    assert found.radius == found.ordinary_radius > 0


def test_without_a_sink_both_are_the_same() -> None:
    """A state of eight times the median length is none."""
    found = _measured([1.0, 1.0, 8.0], [0.25, 0.5, 2.0])
    assert 2.0 == found.distance == found.ordinary


def test_a_state_that_is_not_finite_is_no_sink() -> None:
    """It is left out of neither, so that nothing is said of the layer."""
    found = _measured([1.0, 1.0, 1.0, math.inf], [0.25, 0.5, 0.125, 0.0])
    assert math.isnan(found.distance)
    assert math.isnan(found.ordinary)
