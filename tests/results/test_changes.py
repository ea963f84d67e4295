import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.changes import (
    Change,
    Fate,
    changes,
    label_depth,
    read_tolerances,
    worst_first,
)
from pytest_injectivity.results.metrics import recorded
from pytest_injectivity.results.saved_runs import numbers_of
from pytest_injectivity.results.summary import LayerSummary

NEAR = "near_fractions"
NAMES = [f"{one.name} 0.01" if one.rungs else one.name for one in recorded()]
MORE = {"margin", "margin_q", "colipschitz", "colipschitz_q"}
LESS = {"not_finite", "collisions", "resolution", f"{NEAR} 0.01"}
EITHER = {"mean_norm", "median_norm"}

_names = st.sampled_from(NAMES)
_numbers = st.floats(0.0, 1e300) | st.integers(0, 10**6).map(float)
_shares = st.floats(0.0, 3.0)


@pytest.mark.parametrize(
    ("name", "was", "now", "tolerance", "fate"),
    [
        ("margin_q", 2.0, 1.98, 0.01, Fate.KEPT),
        ("margin_q", 2.0, 1.97, 0.01, Fate.WORSE),
        ("margin_q", 2.0, 2.1, 0.01, Fate.BETTER),
        ("margin_q", 0.0, 0.1, 0.01, Fate.BETTER),
        ("margin_q", 0.0, 0.0, 0.0, Fate.KEPT),
        ("collisions", 0, 1, 0.0, Fate.WORSE),
        ("collisions", 3, 3, 0.0, Fate.KEPT),
        ("collisions", 3, 2, 0.0, Fate.BETTER),
        ("resolution", 1.0, 1.9, 1.0, Fate.KEPT),
        ("resolution", 1.0, 2.1, 1.0, Fate.WORSE),
        ("resolution", 1.0, 0.4, 1.0, Fate.BETTER),
        ("mean_norm", 10.0, 10.05, 0.01, Fate.KEPT),
        ("mean_norm", 10.0, 10.2, 0.01, Fate.WORSE),
        ("mean_norm", 10.0, 9.8, 0.01, Fate.WORSE),
        ("near_fractions 1e-05", 0.0, 1e-9, 0.01, Fate.WORSE),
        ("near_fractions 1e-05", 1e-3, 0.0, 0.01, Fate.BETTER),
        ("margin", 1.0, None, 9.0, Fate.WORSE),
        ("margin", None, 1.0, 0.0, Fate.NEW),
    ],
)
def test_what_becomes_of_a_number(
    name: str, was: float | None, now: float | None, tolerance: float, fate: Fate
) -> None:
    """Margins fall, counts and resolutions rise, norms do either: the bad direction is judged."""
    assert fate is Change(name, was, now, tolerance).fate


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tolerance", [0.0, 1e9])
def test_nan_is_worse(name: str, tolerance: float) -> None:
    """Whatever the tolerance."""
    assert Fate.WORSE is Change(name, 1.0, math.nan, tolerance).fate


@given(_names, _numbers, _numbers, _shares)
def test_worse_is_what_exact_arithmetic_calls_worse(
    name: str, was: float, now: float, tolerance: float
) -> None:
    """Away from the bound by more than rounding, fractions decide the same."""
    low, high = (Fraction(was) * (1 + sign * Fraction(tolerance)) for sign in (-1, 1))
    here, slack = Fraction(now), Fraction(was) / 10**12 + Fraction(1, 10**320)
    assume(abs(here - low) > slack and abs(here - high) > slack)
    bad = (here < low and name not in LESS) or (here > high and name not in MORE)
    assert bad == (Change(name, was, now, tolerance).fate is Fate.WORSE)


@given(_names, _numbers, _shares)
def test_the_same_number_is_kept(name: str, value: float, tolerance: float) -> None:
    """At any tolerance, 0 included."""
    assert Fate.KEPT is Change(name, value, value, tolerance).fate


@given(_names, _numbers, _numbers, _shares)
def test_stale_is_what_would_fail_the_other_way_round(
    name: str, was: float, now: float, tolerance: float
) -> None:
    """A record is stale when it would fail if it were held against this run's numbers."""
    assume(name not in EITHER)
    forth, back = Change(name, was, now, tolerance), Change(name, now, was, tolerance)
    assert (forth.fate is Fate.BETTER) <= (back.fate is Fate.WORSE)
    assert (back.fate is Fate.WORSE and forth.fate is not Fate.WORSE) == (forth.fate is Fate.BETTER)


@given(_names, st.floats(1e-300, 1e200), st.floats(0.0, 1e200), st.floats(0.0, 0.99))
def test_the_bound_itself_passes_and_nothing_beyond_it(
    name: str, was: float, now: float, tolerance: float
) -> None:
    """The number printed as allowed is the one that decides."""
    bound = Change(name, was, now, tolerance).bound
    side = -1 if Change(name, was, now, tolerance).relation == ">=" else 1
    assert Fate.WORSE is not Change(name, was, bound, tolerance).fate
    beyond = float(np.nextafter(bound, side * math.inf))
    assert Fate.WORSE is Change(name, was, beyond, tolerance).fate


@given(_names, st.floats(1e-3, 1e3), st.floats(0.0, 1e3))
def test_the_tolerance_that_is_said_to_pass_does_and_a_smaller_one_does_not(
    name: str, was: float, now: float
) -> None:
    """To four decimals."""
    change = Change(name, was, now, 0.0)
    assume(change.fate is Fate.WORSE)
    needed = change.needed
    assert needed is not None
    assert Fate.WORSE is not Change(name, was, now, needed).fate
    assert Fate.WORSE is Change(name, was, now, needed - 1.1e-4).fate


@pytest.mark.parametrize(("was", "now"), [(0.0, 1.0), (1.0, math.nan), (1.0, None)])
def test_there_may_be_no_tolerance_that_passes(was: float, now: float | None) -> None:
    """Of nothing any share is nothing, and what is lost or no number passes at none."""
    assert Change("resolution", was, now, 0.0).needed is None


def test_the_words_say_was_is_and_percent() -> None:
    """With digits enough to see the difference."""
    assert "margin_q 2 -> 1.5 (-25 %)" == Change("margin_q", 2.0, 1.5, 0.0).words
    assert (
        "margin 1.000001 -> 1.000002 (+0.0001 %)" == Change("margin", 1.000001, 1.000002, 0).words
    )
    assert "collisions 0 -> 2" == Change("collisions", 0, 2, 0.0).words
    assert "resolution 3 -> none" == Change("resolution", 3.0, None, 0.0).words


def test_all_numbers_of_both_sides_are_there_in_order() -> None:
    """What was recorded and not measured, and the reverse; near fractions from wide to narrow."""
    was = {"resolution": 1.0, "near_fractions 1e-05": 0.0, "near_fractions 0.01": 0.5}
    every = changes(was, {"collisions": 1, "resolution": 2.0}, read_tolerances(None))
    assert ["collisions", "resolution", "near_fractions 0.01", "near_fractions 1e-05"] == [
        change.name for change in every
    ]
    assert [(None, 1), (1.0, 2.0), (0.5, None), (0.0, None)] == [(c.was, c.now) for c in every]


def test_the_worst_is_what_went_farthest_in_the_bad_direction() -> None:
    """A margin that grew ten times is no harm, a number that is lost is the greatest."""
    was = {"margin": 1.0, "margin_q": 1.0, "mean_norm": 1.0, "resolution": 1.0}
    now = {"margin": 10.0, "margin_q": 0.9, "mean_norm": 1.5}
    every = worst_first(changes(was, now, read_tolerances(None)))
    assert ["resolution", "mean_norm", "margin_q", "margin"] == [change.name for change in every]


def test_the_numbers_of_a_layer() -> None:
    """Those that were measured; a NaN stays one, to fail."""
    measured = {"not_finite": 3, "margin": math.nan, "near_fractions": {"0.01": 0.5}}
    layer = LayerSummary("norm", None, 9, numbers=measured)
    numbers = numbers_of(layer)
    assert {"not_finite", "margin", "near_fractions 0.01"} == set(numbers)
    assert (3, 0.5) == (numbers["not_finite"], numbers["near_fractions 0.01"])
    assert math.isnan(numbers["margin"])


def test_default_tolerances() -> None:
    """Counts exactly, quantiles and norms 1 %, minima 5 %, a resolution may double."""
    expected = {
        "not_finite": 0.0,
        "collisions": 0.0,
        "margin_q": 0.01,
        "margin": 0.05,
        "colipschitz_q": 0.01,
        "colipschitz": 0.05,
        "mean_norm": 0.01,
        "median_norm": 0.01,
        "resolution": 1.0,
        "near_fractions": 0.01,
    }
    assert expected.items() <= read_tolerances(None).by_metric.items()
    assert read_tolerances(None) == read_tolerances({})


def test_one_tolerance_does_not_loosen_counts() -> None:
    """Who allows 20 % of a margin allows no collision; who names collisions does."""
    read = read_tolerances(0.2).by_metric
    assert {0.0} == {read["collisions"], read["not_finite"]}
    assert {0.2} == {value for name, value in read.items() if name not in LESS - {"resolution"}}
    assert 0.5 == read_tolerances({"collisions": 0.5}).of("collisions")


def test_a_tolerance_is_not_finer_than_the_record() -> None:
    """Counts apart, which are kept exactly."""
    read = read_tolerances(0.0, resolution=1e-5).by_metric
    assert (0.0, 1e-5) == (read["collisions"], read["margin"])
    assert 0.25 == read_tolerances({"margin": np.float32(0.25)}, resolution=1e-5).of("margin")


@pytest.mark.parametrize(
    "given_as", [-0.1, math.nan, math.inf, True, "0.1", 10**400, {"margin": None}, {"margin": "a"}]
)
def test_what_is_no_tolerance_is_refused(given_as: object) -> None:
    """Negative, infinite, no number."""
    with pytest.raises(OptionError, match="is no tolerance: give a share of the recorded number"):
        read_tolerances(given_as)  # type: ignore[arg-type]


def test_a_metric_that_is_not_there_is_refused() -> None:
    """With those that are."""
    with pytest.raises(
        OptionError, match=r"tolerance names 'margn': give numbers for .*not_finite,"
    ):
        read_tolerances({"margn": 0.1})


def test_layers_are_ordered_by_depth() -> None:
    """``norm`` and the head last, layer 10 after 9, rounded states beside their own."""
    ordered = ["layer01", "layer01 rounded to 4", "layer02", "layer10", "layer100", "norm", "head"]
    mixed = [*ordered[3:][::-1], *ordered[:3]]
    assert ordered == sorted(mixed, key=label_depth)
