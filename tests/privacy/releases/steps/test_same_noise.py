from collections.abc import Callable

import pytest
import torch

from pytest_injectivity.config.release_spec import parse
from pytest_injectivity.errors import OptionError
from pytest_injectivity.privacy.releases.binding import bind
from pytest_injectivity.privacy.releases.observed import Observed

Observe = Callable[..., Observed]


@pytest.mark.parametrize("place", ["1 and 2", "1 kv"])
def test_the_noise_of_both_sides_is_one(observed: Observe, place: str) -> None:
    """Their difference is that of the rows, down to the rounding of what is sent."""
    rows = observed(place)
    sent = rows.released(bind(parse(f"same_noise(sigma=2)@{place}"), rows), 0)
    first, second = torch.chunk(torch.cat(sent) - torch.cat(rows.rows), 2, dim=1)
    assert torch.allclose(first, second, atol=1e-5)
    assert 1 < float(first.std()) < 3


def test_rows_of_one_side_have_the_noise_of_gaussian(observed: Observe) -> None:
    """There is nothing to differ from."""
    rows = observed("1")
    same, other = (bind(parse(f"{one}(sigma=2)@1"), rows) for one in ("same_noise", "gaussian"))
    assert torch.equal(same.noise.covariance(), other.noise.covariance())


def test_sides_of_two_widths_are_refused() -> None:
    """One draw has one width."""
    place = parse("identity@1 kv").place
    rows = Observed(place, ((1, 2, 3),), (torch.ones(3, 10),), (6, 4))
    with pytest.raises(OptionError, match="differ in width: give a place of keys"):
        bind(parse("same_noise(sigma=1)@1 kv"), rows)
