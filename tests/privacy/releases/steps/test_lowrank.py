from collections.abc import Callable

import numpy as np
import pytest
import torch

from pytest_injectivity.config.release_spec import parse
from pytest_injectivity.errors import OptionError
from pytest_injectivity.privacy.releases.binding import bind
from pytest_injectivity.privacy.releases.observed import Observed

Observe = Callable[..., Observed]


def test_noise_in_few_directions_is_as_much_as_noise_in_all(observed: Observe) -> None:
    """Of one sigma: the root mean square of a coordinate; and it has as many directions as said."""
    low = bind(parse("lowrank(rank=3, sigma=0.5)@1"), observed("1"))
    assert np.isclose(0.5, low.noise.rms)
    assert 3 == int(torch.linalg.matrix_rank(low.noise.covariance()))
    values = torch.linalg.eigvalsh(low.noise.covariance())[-3:]
    assert np.allclose(0.25 * 16 / 3, values)


def test_as_many_directions_as_there_are_is_refused(observed: Observe) -> None:
    """That is gaussian noise."""
    with pytest.raises(OptionError, match="rank=16 of rows of width 16: give a rank below"):
        bind(parse("lowrank(rank=16, sigma=1)@1"), observed("1"))
