from collections.abc import Callable

import numpy as np
import pytest

from pytest_injectivity.config.release_spec import parse
from pytest_injectivity.config.release_steps import Amount
from pytest_injectivity.errors import OptionError
from pytest_injectivity.privacy.releases.binding import bind, typical_coordinate
from pytest_injectivity.privacy.releases.observed import Observed
from pytest_injectivity.privacy.releases.registry import RowScale

Observe = Callable[..., Observed]


def test_a_relative_strength_is_in_units_of_a_typical_coordinate(observed: Observe) -> None:
    """An absolute one is in the states' own units."""
    found = observed("1")
    relative = bind(parse("gaussian(sigma=0.5 rel)@1"), found)
    assert np.isclose(0.5 * typical_coordinate(found.rows, found), relative.noise.rms)
    assert np.isclose(0.5, bind(parse("gaussian(sigma=0.5)@1"), found).noise.rms)


@pytest.mark.parametrize("typical", [0.0, float("inf"), float("nan")])
def test_a_strength_that_is_no_standard_deviation_is_refused(typical: float) -> None:
    """Rows of zeros have no relative noise, and rows that are not finite have none either."""
    with pytest.raises(
        OptionError, match=r"sigma=2 rel of rows of size .* is no standard deviation"
    ):
        RowScale(4, typical).sigma(Amount(2.0, relative=True))
