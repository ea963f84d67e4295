import math
from typing import Any

import pytest

from pytest_injectivity.errors import OptionError
from pytest_injectivity.inversion.tolerances import Tolerances
from pytest_injectivity.inversion.verifiers import Argmin, Ball


def test_one_number_serves_every_position() -> None:
    """And stands for the noise too where none is given."""
    tolerances = Tolerances.of("ball", 0.5, None, 2.0)
    assert [Ball(0.5, 0.5, 2.0)] * 2 == [tolerances.verifier(position) for position in (0, 9)]


def test_the_last_number_serves_all_positions_after_it() -> None:
    """A floor of position 0 apart, and one of the rest."""
    tolerances = Tolerances.of("ball", (9.0, 0.5), 0.25, 1.0)
    found = [tolerances.verifier(position) for position in (0, 1, 7)]
    assert [Ball(9.0, 0.25), Ball(0.5, 0.25), Ball(0.5, 0.25)] == found


def test_argmin_has_noise_and_no_tolerance() -> None:
    """It takes the nearest candidate whatever its distance."""
    assert Argmin(0.25) == Tolerances.of("argmin", 9.0, 0.25, 1.0).verifier(3)


@pytest.mark.parametrize("value", [-1e-9, math.nan, math.inf, (0.1, math.nan), (-1.0, 0.0), ()])
@pytest.mark.parametrize("name", ["eps", "nu"])
def test_what_is_no_tolerance_is_refused_by_name(name: str, value: Any) -> None:
    """The message names the argument, its value and what is accepted."""
    given = {"eps": 0.1, "nu": 0.1, name: value}
    with pytest.raises(OptionError) as refused:
        Tolerances.of("ball", given["eps"], given["nu"], 1.0)
    assert str(refused.value).startswith(
        f"{name}={value!r} is not a tolerance: give a finite number"
    )


@pytest.mark.parametrize("backoff", [0.99, -1.0, math.nan, math.inf])
def test_backoff_is_a_finite_factor(backoff: float) -> None:
    """Widening without a bound would accept anything."""
    with pytest.raises(OptionError, match=r"backoff=.* give a finite number that is at least 1"):
        Tolerances.of("ball", 0.1, None, backoff)
