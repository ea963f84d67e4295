"""What searches for colliding changes are predicted to take."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest

from pytest_injectivity.audit.measurements.collision_phase import collision_phase
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.plan.costs import Costs
from pytest_injectivity.plan.rates import Rates
from pytest_injectivity.plan.sizes import Sizes
from pytest_injectivity.results.plan import Phase

SIZES = Sizes(4, 64, 1000, 1_000_000, 936_000, "float32", 128)
COSTS = Costs(SIZES, [tuple(range(16))] * 4, Rates.assumed(SIZES, 0.1), 4096)


def _phase(costs: Costs = COSTS, pairs: Mapping[Layer, int] = MappingProxyType({2: 1})) -> Phase:
    return collision_phase(costs, pairs, "all", roundings=2)


def test_a_typical_number_of_steps_is_between_none_and_the_most() -> None:
    """Each takes the same; the weights as they are take as much."""
    phase = _phase()
    least, most = phase.span
    assert pytest.approx(24 * least) == phase.seconds
    assert pytest.approx(41 * least) == most


def test_every_pair_of_every_layer_is_searched() -> None:
    """One after the other, with one copy of the model."""
    one, other, more = (_phase(COSTS, pairs) for pairs in ({2: 1}, {3: 1}, {2: 3, 3: 3}))
    assert pytest.approx(3 * (one.seconds + other.seconds)) == more.seconds
    assert one.bytes == more.bytes
    assert "3 pairs of prompts at each of 2 layers, over all" in more.what


def test_layers_may_have_other_numbers_of_pairs() -> None:
    """As where some are known from an earlier run."""
    one, other, more = (_phase(COSTS, pairs) for pairs in ({2: 1}, {3: 1}, {2: 1, 3: 3}))
    assert pytest.approx(one.seconds + 3 * other.seconds) == more.seconds
    assert "4 pairs of prompts at 2 layers, over all" in more.what


def test_longer_prompts_widen_the_range() -> None:
    """Which prompts are closest is not known before."""
    mixed = replace(COSTS, prompts=[tuple(range(length)) for length in (4, 16, 64)])
    assert pytest.approx(_phase().seconds) == _phase(mixed).seconds
    assert _phase(mixed).span[0] < _phase().span[0]
    assert _phase(mixed).span[1] > _phase().span[1]


def test_it_is_in_float64() -> None:
    """Its seconds grow with the tokens' time there."""
    slow = replace(COSTS, rates=replace(COSTS.rates, float64=4.0))
    assert 1.5 < _phase(slow).seconds / _phase().seconds < 2.0
