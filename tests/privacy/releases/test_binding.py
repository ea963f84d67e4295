from collections.abc import Callable

import numpy as np
import torch

from pytest_injectivity.config.release_spec import parse
from pytest_injectivity.privacy.releases.binding import bind, typical_coordinate
from pytest_injectivity.privacy.releases.composition import ChainedRelease, SidewiseRelease
from pytest_injectivity.privacy.releases.observed import Observed
from pytest_injectivity.privacy.releases.protocol import Release
from pytest_injectivity.privacy.releases.steps.permute import PermuteRelease
from pytest_injectivity.privacy.releases.steps.round import RoundRelease

Observe = Callable[..., Observed]


def _bound(text: str, observe: Observe) -> tuple[Release, Observed]:
    recipe = parse(text)
    found = observe(str(recipe.place))
    return bind(recipe, found), found


def test_a_typical_coordinate_is_a_mean_norm_over_the_width(observed: Observe) -> None:
    """Of the rows of every position but the first."""
    found = observed("1")
    norms = [np.sqrt((row**2).sum()) for rows in found.rows for row in rows[1:].double().numpy()]
    expected = np.mean(norms) / np.sqrt(found.width)
    assert np.isclose(expected, typical_coordinate(found.rows, found))


def test_the_first_position_counts_where_there_is_no_other(observed: Observe) -> None:
    """A prompt of one token has a size too."""
    alone = observed("1", [(3,), (9,)])
    norms = [float(rows[0].double().norm()) for rows in alone.rows]
    assert np.isclose(np.mean(norms) / 4, typical_coordinate(alone.rows, alone))


def test_steps_become_a_chain(observed: Observe) -> None:
    """In their order; one alone stays alone."""
    one, _ = _bound("round(bits=4)@1", observed)
    assert isinstance(one, RoundRelease)
    chain, _ = _bound("round(bits=4)|permute@1", observed)
    assert isinstance(chain, ChainedRelease)
    assert [RoundRelease, PermuteRelease] == [type(step) for step in chain.steps]


def test_keys_and_values_have_scales_of_their_own(observed: Observe) -> None:
    """And are shuffled together."""
    both, found = _bound("gaussian(sigma=1 rel)|permute@1 kv", observed)
    assert isinstance(both, ChainedRelease)
    assert [SidewiseRelease, PermuteRelease] == [type(step) for step in both.steps]
    keys, values = both.noise.sigma[0], both.noise.sigma[-1]
    apart = [torch.split(rows, list(found.sides), dim=1) for rows in found.rows]
    for sigma, side in ((keys, 0), (values, 1)):
        assert np.isclose(float(sigma), typical_coordinate([one[side] for one in apart], found))
