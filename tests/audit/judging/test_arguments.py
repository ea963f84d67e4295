import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pytest_injectivity import OptionError
from pytest_injectivity.audit.judging.arguments import (
    REQUIRED,
    at_least,
    at_most,
    count,
    flag,
    fraction,
    optional_confidence,
    share_at_least,
    share_at_most,
)

THRESHOLDS = [at_least, at_most, share_at_least, share_at_most]


@pytest.mark.parametrize("read", THRESHOLDS)
@pytest.mark.parametrize("missing", [REQUIRED, None])
def test_a_threshold_has_to_be_given(read: Callable[..., object], missing: object) -> None:
    """The error names it and says what is accepted."""
    with pytest.raises(OptionError, match="bound is not given, and the check is judged by it"):
        read("bound", missing)


@pytest.mark.parametrize(
    ("read", "vacuous"),
    [(at_least, 0.0), (at_least, {1: 0.5, 2: 0.0}), (share_at_least, 0.0), (share_at_most, 1.0)],
)
def test_what_everything_passes_at_is_refused(read: Callable[..., object], vacuous: object) -> None:
    """A margin of at least 0 and a share of at most 1 are green whatever is measured."""
    with pytest.raises(OptionError, match="passes whatever is measured"):
        read("bound", vacuous)


@pytest.mark.parametrize("read", THRESHOLDS)
@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf, True, "0.5", 10**400])
def test_what_is_no_bound_is_refused(read: Callable[..., object], wrong: object) -> None:
    """Negative, NaN, infinite, a truth value or a text."""
    with pytest.raises(OptionError, match="bound="):
        read("bound", wrong)


@pytest.mark.parametrize("kind", [float, np.float64, np.float32, int, np.int64])
def test_numbers_of_any_kind_are_read_as_pythons(kind: Callable[[int], float]) -> None:
    """What numpy computed is a number, alone or by layer."""
    assert (3.0, float) == (at_least("bound", kind(3)), type(at_least("bound", kind(3))))
    assert {1: 3.0} == at_most("bound", {1: kind(3)})


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "3", True, math.nan])
def test_a_count_is_an_integer_of_at_least_one(wrong: object) -> None:
    """Unless another least one is named."""
    with pytest.raises(OptionError, match=r"prompts=.*: give an integer of at least 1"):
        count("prompts", wrong)
    assert 0 == count("certify", np.int64(0), least=0)


@pytest.mark.parametrize("wrong", [0.0, 1.0, 95, math.nan, "0.95", True])
def test_a_confidence_lies_between_0_and_1(wrong: object) -> None:
    """Or is None, which judges point values."""
    with pytest.raises(OptionError, match="give a number between 0 and 1"):
        optional_confidence(wrong)  # type: ignore[arg-type] # the wrong types are the test
    assert optional_confidence(None) is None


@pytest.mark.parametrize("wrong", [-0.1, 1.1, math.nan, "0.5", None])
def test_a_fraction_lies_from_0_to_1(wrong: object) -> None:
    """Both ends included."""
    with pytest.raises(OptionError, match="is not a fraction: give a number from 0 to 1"):
        fraction("q", wrong)
    assert (0.0, 1.0) == (fraction("q", 0), fraction("q", 1))


@pytest.mark.parametrize(
    ("read", "accepted"),
    [
        (at_least, "a finite number above 0"),
        (at_most, "a finite number of at least 0"),
        (share_at_least, "a share above 0, at most 1"),
        (share_at_most, "a share of at least 0, below 1"),
    ],
)
def test_a_missing_threshold_says_what_is_accepted(
    read: Callable[..., object], accepted: str
) -> None:
    """Each kind of threshold by its own range."""
    with pytest.raises(OptionError, match=f"no default; give {accepted}$"):
        read("bound", None)


@pytest.mark.parametrize("given", ["no", None, 1, 0.0])
def test_a_yes_or_no_is_nothing_else(given: object) -> None:
    """A text such as "no" is not taken for yes."""
    with pytest.raises(OptionError, match=r"normalized=.*: give True or False"):
        flag("normalized", given)


@pytest.mark.parametrize("given", [-1, math.inf, math.nan, {1: -1.0}])
def test_a_lower_bound_is_said_to_be_above_zero(given: Any) -> None:
    """Since 0 is refused as well."""
    with pytest.raises(OptionError, match="give a finite number above 0"):
        at_least("alpha", given)
