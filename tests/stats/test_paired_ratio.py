"""Ratios of two models' numbers: what is known exactly, and coverage by simulation."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Float64, Int64

from pytest_injectivity import stats
from pytest_injectivity.core.interval import Interval
from pytest_injectivity.errors import OptionError


def ratio_interval(
    left: Callable[[Int64[np.ndarray, " rows"]], float],
    right: Callable[[Int64[np.ndarray, " rows"]], float],
    n: int,
    confidence: float,
    **settings: int,
) -> Interval:
    """The interval of the ratio of two models' numbers."""
    return stats.paired_ratio(left, right, n, **settings).interval(confidence)


Number = Callable[[Int64[np.ndarray, " rows"]], float]


def margin_of(points: Float64[np.ndarray, "n d"], q: float) -> Number:
    """The q-quantile of nearest-neighbor distances among some of the points."""

    def margin(rows: Int64[np.ndarray, " rows"]) -> float:
        chosen = points[rows]
        squares = np.square(chosen).sum(axis=1)
        apart = squares[:, None] + squares - 2 * chosen @ chosen.T
        np.fill_diagonal(apart, np.inf)
        return stats.lower_quantile(np.sqrt(apart.min(axis=1).clip(min=0)), q)

    return margin


def pair_of_models(n: int, d: int, seed: int) -> tuple[Number, Number]:
    """The margins of a model, and of the same model with noise and in other units."""
    generator = np.random.default_rng(seed)
    points = generator.standard_normal((n, d))
    other = 3.0 * (points + 0.5 * generator.standard_normal((n, d)))
    return margin_of(points, 0.1), margin_of(other, 0.1)


def check_ratio_coverage(simulations: int, n: int, d: int, *, others: int) -> None:
    """At least 93 % of intervals at 95 % hold the median ratio of other simulations."""
    rows = np.arange(n)
    pairs = (pair_of_models(n, d, seed) for seed in range(10_000, 10_000 + others))
    ratios = [left(rows) / right(rows) for left, right in pairs]
    truth = float(np.median(ratios))
    found = [
        ratio_interval(*pair_of_models(n, d, seed), n, 0.95, draws=40, seed=seed)
        for seed in range(simulations)
    ]
    assert 0.93 <= np.mean([one.low <= truth <= one.high for one in found])
    # Of independent simulations 95 % lie within 3.92 standard deviations of the logarithm.
    ideal = 3.92 * float(np.std(np.log(ratios)))
    assert np.median([math.log(one.high / one.low) for one in found]) < 1.5 * ideal


def test_ratios_between_two_models_cover() -> None:
    """Gaussian rows, 60 prompts, 150 simulations."""
    check_ratio_coverage(150, 60, 8, others=1000)


@pytest.mark.slow
@pytest.mark.parametrize("d", [2, 64])
def test_ratios_between_two_models_cover_at_length(d: int) -> None:
    """Gaussian rows, 200 prompts, 1,000 simulations."""
    check_ratio_coverage(1000, 200, d, others=2000)


def test_a_half_is_the_same_for_both_models_and_without_copies() -> None:
    """So that what both models share cancels: a model beside itself is at exactly 1."""
    seen: list[tuple[int, ...]] = []

    def number(rows: Int64[np.ndarray, " rows"]) -> float:
        seen.append(tuple(rows.tolist()))
        return 1.0 + float(rows.sum())

    found = ratio_interval(number, number, 9, 0.95, draws=5, seed=3)
    assert Interval(1.0, 1.0, 0.95) == found
    assert seen[0::2] == seen[1::2]
    assert tuple(range(9)) == seen[0]
    assert 5 == len(seen[2::2])
    for half in seen[2::2]:
        assert 4 == len(half) == len(set(half))
        assert list(half) == sorted(half)


def test_a_ratio_is_the_same_for_the_same_seed() -> None:
    """And another for another."""
    models = pair_of_models(40, 4, seed=0)
    one, again, other = (
        ratio_interval(*models, 40, 0.9, draws=10, seed=seed) for seed in (1, 1, 2)
    )
    assert one == again != other


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_ratio_without_a_logarithm_is_unknown(value: float) -> None:
    """Of collisions, of rows that are not finite: on either side, in any half."""
    unknown = Interval(0.0, math.inf, 0.95)
    assert unknown == ratio_interval(lambda _: value, lambda _: 1.0, 8, 0.95)
    assert unknown == ratio_interval(lambda _: 1.0, lambda _: value, 8, 0.95)
    only_in_halves = ratio_interval(
        lambda rows: 1.0 if len(rows) == 8 else value, lambda _: 1.0, 8, 0.95
    )
    assert unknown == only_in_halves


def test_four_prompts_and_two_draws_are_enough() -> None:
    """Each half is a pair, and two draws have a spread."""
    found = stats.paired_ratio(lambda rows: 1.0 + float(rows.sum()), lambda _: 1.0, 4, draws=2)
    assert (7.0, 2) == (found.value, found.draws)
    assert math.isfinite(found.spread)


def test_a_hundred_halves_are_drawn_unless_told_otherwise() -> None:
    """And the seed is 0."""
    left, right = pair_of_models(12, 2, seed=0)
    expected = stats.paired_ratio(left, right, 12, draws=100, seed=0)
    assert expected == stats.paired_ratio(left, right, 12)


@pytest.mark.parametrize(("n", "draws"), [(3, 10), (0, 10), (10, 1)])
def test_too_few_prompts_for_halves_are_refused(n: int, draws: int) -> None:
    """Half of four is the least that has a pair."""
    with pytest.raises(OptionError, match=f"n={n}, draws={draws}: give at least 4 prompts"):
        ratio_interval(lambda _: 1.0, lambda _: 1.0, n, 0.95, draws=draws)


def test_a_ratios_value_is_that_of_all_prompts() -> None:
    """Its interval holds it, wider where more is asked for; a copy of a model is exactly 1."""
    left, right = pair_of_models(40, 4, seed=0)
    found = stats.paired_ratio(left, right, 40, draws=10, seed=1)
    rows = np.arange(40)
    assert left(rows) / right(rows) == found.value
    narrow, wide = found.interval(0.5), found.interval(0.99)
    assert wide.low < narrow.low < found.value < narrow.high < wide.high
    assert narrow == ratio_interval(left, right, 40, 0.5, draws=10, seed=1)
    assert stats.PairedRatio(1.0, 0.0, 5) == stats.paired_ratio(left, left, 40, draws=5)


@given(st.floats(0.05, 20), st.floats(0.01, 2), st.floats(0.1, 0.99), st.floats(1.01, 9))
def test_ratio_p_values_agree_with_the_interval(
    value: float, spread: float, low: float, high: float
) -> None:
    """Proved inside where the one-sided limits lie inside; proved outside only beyond a limit."""
    ratio = stats.PairedRatio(value, spread, 30)
    inside, outside = ratio.p_values(low, high)
    limits = ratio.interval(0.9)  # 95 % on each side
    assert (inside < 0.05) == (low < limits.low and limits.high < high)
    assert outside >= 0.05 or limits.high < low or high < limits.low
    assert 0 <= inside <= 1
    assert 0 <= outside <= 1


@pytest.mark.parametrize("value", [0.0, math.inf, math.nan])
def test_a_ratio_that_is_no_positive_number_is_outside(value: float) -> None:
    """Whatever was asked; where only some half has none, nothing is decided."""
    assert (1.0, 0.0) == stats.PairedRatio(value, math.inf, 10).p_values(0.5, 2.0)
    assert (1.0, 1.0) == stats.PairedRatio(1.0, math.inf, 10).p_values(0.5, 2.0)


def test_a_ratio_without_an_upper_limit() -> None:
    """Infinity is never surpassed."""
    inside, outside = stats.PairedRatio(50.0, 0.1, 10).p_values(0.5, math.inf)
    assert inside < 1e-6
    assert outside > 0.999
    assert (1.0, 0.0) == tuple(
        round(p, 9) for p in stats.PairedRatio(0.1, 0.01, 10).p_values(0.5, math.inf)
    )


def check_two_sided_levels(simulations: int, n: int) -> None:
    """On an edge of what is accepted, at most 5 % are proved inside, and 5 % outside."""
    pairs = [pair_of_models(n, 8, seed) for seed in range(1000, 1400)]
    rows = np.arange(n)
    truth = float(np.median([left(rows) / right(rows) for left, right in pairs]))
    found = [stats.paired_ratio(*models, n, draws=40) for models in pairs[:simulations]]
    for limits in (
        (truth, 4 * truth),
        (truth / 4, truth),
        (truth / 1.1, truth),
        (truth, truth * 1.1),
    ):
        decided = np.array([one.p_values(*limits) for one in found]) < 0.05
        assert (decided.mean(axis=0) <= 0.09).all(), limits


def test_two_sided_decisions_about_ratios_keep_their_level() -> None:
    """60 prompts, 120 simulations: two standard deviations of chance are allowed."""
    check_two_sided_levels(120, 60)


@pytest.mark.slow
def test_two_sided_decisions_about_ratios_keep_their_level_at_length() -> None:
    """200 prompts, 400 simulations."""
    check_two_sided_levels(400, 200)
