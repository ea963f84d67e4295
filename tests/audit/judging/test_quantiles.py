import math
from collections.abc import Callable
from functools import cache
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pytest_injectivity import Audit, OptionError
from pytest_injectivity.core.numbers import show_down
from pytest_injectivity.core.strict_json import plain
from pytest_injectivity.geometry.search import approximate
from pytest_injectivity.results.verdict import Status
from pytest_injectivity.stats import clopper_pearson, quantile_interval, quantile_p_values
from pytest_injectivity.testing import additive_decoder
from tests import brute_force
from tests.audits import audit_of

Additive = Callable[..., Audit]
Rows = Callable[..., Tensor]
# Lengths 2 to 5, so that hamming finds partners for most; the last has none of its length.
IDS = [
    *([token, 11 - token] for token in range(8)),
    *([1, token, token + 1] for token in range(7)),
    *([2, 3, 5, token] for token in (4, 6, 9)),
    [1, 2, 3, 4, 5],
]
QUANTILES = [0.0, 0.01, 0.05, 0.25, 0.5, 1.0]


@pytest.fixture
def indexed(
    tmp_path: Path, random_rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Audit]:
    """The audit of the fixture below, its neighbors found by an index."""
    monkeypatch.setattr(approximate, "EXACT_ROWS", 1)

    @cache
    def made() -> Audit:
        decoder = additive_decoder(random_rows(12), random_rows(64, seed=1))
        return audit_of(tmp_path, decoder, IDS, layers="0,all", no_cache=True)

    return made


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory, random_rows: Rows) -> Callable[..., Audit]:
    """Nineteen prompts whose states are sums of random tables; one audit a metric."""

    @cache
    def made(prompt_metric: str = "levenshtein") -> Audit:
        decoder = additive_decoder(random_rows(12), random_rows(64, seed=1))
        folder = tmp_path_factory.mktemp("audit")
        return audit_of(folder, decoder, IDS, prompt_metric=prompt_metric, layers="0,all")

    return made


def _value(verdict: object) -> float:
    (reason,) = verdict.reasons  # type: ignore[attr-defined]
    return float(reason.value)


def test_margins_are_those_of_brute_force(audit: Callable[..., Audit]) -> None:
    """``m_{l,q}`` and its value over the mean norm, at each layer."""
    found = audit()
    for layer, q in product((0, 1, 2, "norm"), QUANTILES):
        states = found.states(layer)
        expected = brute_force.lower_quantile(brute_force.nearest(states)[0], q)
        margin = _value(found.check_margin_above(layer, margin=1e-12, q=q))
        assert expected == pytest.approx(margin, rel=1e-12)
        normalized = _value(found.check_margin_above(layer, margin=1e-12, q=q, normalized=True))
        mean = float(np.mean(brute_force.norms(states)))
        assert expected / mean == pytest.approx(normalized, rel=1e-12)


@pytest.mark.parametrize(
    "metric", ["levenshtein", "hamming", "levenshtein/length", "hamming/length"]
)
def test_colipschitz_values_are_those_of_brute_force(
    audit: Callable[..., Audit], metric: str
) -> None:
    """``alpha_{l,q}`` over the rows that have an admissible partner, under each metric."""
    found = audit(prompt_metric=metric)
    for layer, q in product((1, "norm"), QUANTILES):
        states = found.states(layer)
        smallest = brute_force.ratios(states, IDS, metric).smallest()[0]
        expected = brute_force.lower_quantile(smallest[~np.isnan(smallest)], q)
        assert expected == pytest.approx(
            _value(found.check_colipschitz_above(layer, alpha=1e-12, q=q)), rel=1e-12
        )
        mean = float(np.mean(brute_force.norms(states)))
        assert expected / mean == pytest.approx(
            _value(found.check_colipschitz_above(layer, alpha=1e-12, q=q, normalized=True)),
            rel=1e-12,
        )


def test_distortion_is_upper_over_lower_constant(audit: Callable[..., Audit]) -> None:
    """Over the set's own pairs, where two prompts of it are one edit apart."""
    found = audit()
    assert found.measurements.has_minimal_edit
    table = brute_force.ratios(found.states(2), IDS, "levenshtein")
    for q in (0.0, 0.01, 0.3):
        upper = brute_force.upper_quantile(table.largest()[0], q)
        lower = brute_force.lower_quantile(table.smallest()[0], q)
        verdict = found.check_bilipschitz_within(2, 1e9, q=q)
        assert upper / lower == pytest.approx(_value(verdict), rel=1e-12)
        assert "over the set's own pairs" in verdict.reasons[0].evidence[0]


def test_without_a_minimal_edit_prompts_are_edited(additive: Additive, random_rows: Rows) -> None:
    """The upper constant is then that of one changed token (SPEC section 2)."""
    tables = random_rows(12), random_rows(64, seed=1)
    found = additive(tables[0], [[1, 2, 3], [4, 5, 6], [7, 8, 9, 10], [11, 0]], tables[1])
    assert not found.measurements.has_minimal_edit
    verdict = found.check_bilipschitz_within(1, 1e9, q=0.0)
    alpha = found.geometry(1).colipschitz(0.0)
    assert float(found.measurements.minimal_edits(1).ratio.max()) / alpha == _value(verdict)
    assert "over 4 prompts with one token changed" in verdict.reasons[0].evidence[0]


def test_the_bound_itself_passes(audit: Callable[..., Audit]) -> None:
    """``>=`` on unrounded numbers: the value passes, the next number above does not."""
    found = audit()
    for check in (found.check_margin_above, found.check_colipschitz_above):
        for asked in ({}, {"normalized": True}, {"q": 0.5}):
            value = _value(check(1, 1e-12, **asked))  # type: ignore[arg-type]
            assert check(1, value, **asked).passed  # type: ignore[arg-type]
            above = float(np.nextafter(value, np.inf))
            assert not check(1, above, **asked).passed  # type: ignore[arg-type]
    value = _value(found.check_bilipschitz_within(1, 0.0))
    assert found.check_bilipschitz_within(1, value).passed
    assert not found.check_bilipschitz_within(1, float(np.nextafter(value, 0))).passed


def test_numbers_beside_fail_never_look_like_a_pass(audit: Callable[..., Audit]) -> None:
    """The digits shown tell value and bound apart, however close they are."""
    found = audit()
    value = _value(found.check_margin_above(1, margin=1e-12, q=0.0))
    verdict = found.check_margin_above(1, float(np.nextafter(value, np.inf)), q=0.0)
    words = verdict.reasons[0].summary.split()
    assert float(words[-1]) > float(words[3].rstrip(","))


def test_distances_of_an_index_fail_a_gate_and_do_not_pass_it(
    audit: Callable[..., Audit], indexed: Callable[[], Audit]
) -> None:
    """They are upper bounds: between what they say and what the recall leaves in doubt is neither."""
    exact = audit().check_margin_above(1, 1e-12, q=0.5)
    found = indexed()
    value = _value(found.check_margin_above(1, 1e-12, q=0.5))
    assert value >= _value(exact)
    assert Status.FAIL is found.check_margin_above(1, value * 1.01, q=0.5).status
    assert Status.INSUFFICIENT is found.check_margin_above(1, value, q=0.5).status
    smallest = found.geometry(1).closest.distance
    assert Status.PASS is found.check_margin_above(1, smallest, q=0.5).status
    line = found.check_margin_above(1, 1e-12).reasons[0].evidence[-1]
    assert "nearest rows by an index" in line


def test_an_index_proves_the_bound_of_a_pessimistic_sample(indexed: Callable[[], Audit]) -> None:
    """As many rows as it may have missed, the farthest ones, are taken for the closest pair's."""
    found = indexed()
    closest, nearest = found.geometry(1).closest, found.geometry(1).nearest
    assert nearest.recall is not None
    recalled = clopper_pearson(nearest.recall.found, nearest.recall.sample, 0.95).low
    missed = math.ceil((1.0 - recalled) * len(IDS))
    distance = nearest.distance.copy()
    distance[[closest.left, closest.right]] = closest.distance
    median = len(IDS) // 2
    assert 0 < missed < median
    expected = float(np.sort(distance)[median - missed])
    (reason,) = found.check_margin_above(1, 1e-12, q=0.5).reasons
    assert f"a bound of at most {show_down(expected)}" == reason.would_pass
    assert expected > closest.distance


def test_the_minimum_is_exact_beyond_what_an_index_finds(
    audit: Callable[..., Audit], indexed: Callable[[], Audit]
) -> None:
    """The closest pair needs no row's neighbor."""
    exact = _value(audit().check_margin_above(2, 1e-12, q=0.0))
    assert exact == _value(indexed().check_margin_above(2, 1e-12, q=0.0))
    assert Status.PASS is indexed().check_margin_above(2, exact, q=0.0).status


def test_the_closest_pair_is_named(audit: Callable[..., Audit]) -> None:
    """By prompts, with its distance: that of brute force."""
    found = audit()
    distance, i, j = brute_force.near(found.states(2), 1e9)[0]
    line = found.check_margin_above(2, margin=1e-12).reasons[0].evidence[0]
    assert f"closest pair, distance {distance:.4g}: " in line
    assert {found.name_of(i), found.name_of(j)} == set(line.partition(": ")[2].split(" and "))


@pytest.mark.parametrize("metric", ["levenshtein", "hamming"])
def test_the_pair_of_smallest_ratio_is_named(audit: Callable[..., Audit], metric: str) -> None:
    """By prompts, with the ratio and the metric."""
    found = audit(prompt_metric=metric)
    ratio, partner = brute_force.ratios(found.states(2), IDS, metric).smallest()
    worst = int(np.nanargmin(ratio))
    line = found.check_colipschitz_above(2, alpha=1e-12).reasons[0].evidence[0]
    assert line.startswith(f"smallest ratio {ratio[worst]:.4g} ({metric}): ")
    names = {found.name_of(worst), found.name_of(int(partner[worst]))}
    assert names == set(line.partition(": ")[2].split(" and "))


def test_prompts_without_a_partner_are_counted(audit: Callable[..., Audit]) -> None:
    """Hamming compares equal lengths only: the reason says how many prompts that leaves out."""
    evidence = (
        audit(prompt_metric="hamming").check_colipschitz_above(1, alpha=1e-12).reasons[0].evidence
    )
    assert "1 of 19 prompts has no admissible partner" in evidence
    evidence = audit().check_colipschitz_above(1, alpha=1e-12).reasons[0].evidence
    assert not any("admissible" in line for line in evidence)


def test_too_few_partners_are_refused(additive: Additive, random_rows: Rows) -> None:
    """Fewer than two prompts with a partner have no constant."""
    found = additive(random_rows(9), [[1], [1, 2], [1, 2, 3]], prompt_metric="hamming")
    with pytest.raises(OptionError, match="0 of 3 prompts have an admissible partner"):
        found.check_colipschitz_above(1, alpha=1e-12)


def test_two_prompts_are_enough(additive: Additive, random_rows: Rows) -> None:
    """N = 2: margin and constant are those of the one pair."""
    rows = random_rows(4)
    found = additive(rows, [[0, 1], [2, 3]])
    distance = float((rows[1].double() - rows[3].double()).norm())
    assert distance == pytest.approx(_value(found.check_margin_above(1, margin=1e-12)), rel=1e-12)
    assert distance / 2 == pytest.approx(
        _value(found.check_colipschitz_above(1, alpha=1e-12)), rel=1e-12
    )


def test_colliding_prompts_have_margin_and_constant_zero(additive: Additive) -> None:
    """And an infinite distortion, which no bound allows."""
    rows = torch.eye(8)
    found = additive(rows, [[0, 1], [2, 1], [3, 4]])
    assert 0.0 == _value(found.check_margin_above(1, margin=1e-12))
    assert 0.0 == _value(found.check_colipschitz_above(1, alpha=1e-12))
    verdict = found.check_bilipschitz_within(1, 1e308)
    assert np.inf == _value(verdict)
    assert not verdict.passed
    assert "inf" == plain(verdict)["reasons"][0]["value"]
    assert "no distortion: it is not finite" == verdict.reasons[0].would_pass


def test_a_layer_of_zeros_fails_normalized_and_does_not_crash(additive: Additive) -> None:
    """Its mean norm is 0: there is no normalized value, and NaN fails."""
    found = additive(torch.zeros(4, 8), [[0, 1], [2, 3], [1, 1]])
    for check in (found.check_margin_above, found.check_colipschitz_above):
        verdict = check(1, 1e-12, normalized=True)
        assert not verdict.passed
        assert np.isnan(_value(verdict))
        assert "no bound: the value is not a number" == verdict.reasons[0].would_pass


def test_margins_shrink_with_fewer_bits_to_the_grid(additive: Additive, random_rows: Rows) -> None:
    """The margin of rounded states is that of brute force on the grid's values."""
    found = additive(random_rows(20), [[0, token] for token in range(20)])
    for bits in (2, 4, 8):
        states = found.states(1).double()
        step = float(states.abs().max()) / (2 ** (bits - 1) - 1)
        rounded = (states / step).round() * step
        expected = brute_force.lower_quantile(brute_force.nearest(rounded)[0], 0.01)
        verdict = found.check_margin_above(1, margin=1e-12, bits=bits)
        assert expected == pytest.approx(_value(verdict), rel=1e-12)
        assert f"{bits} bits" in verdict.reasons[0].quantity
        assert not any("resolution" in line for line in verdict.reasons[0].evidence)


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("q", [0.1, 0.5])
def test_with_confidence_the_sample_decides(
    audit: Callable[..., Audit],
    q: float,
    normalized: bool,  # noqa: FBT001 - a parameter
) -> None:
    """PASS and FAIL where the p-values of the order statistics say so, else INSUFFICIENT."""
    found = audit()
    values, partner = brute_force.nearest(found.states(1))
    scale = float(np.mean(brute_force.norms(found.states(1)))) if normalized else 1.0
    ordered = np.sort(values)
    # Between values that differ: at a value itself the last bit would decide.
    between = [(one + other) / 2 for one, other in pairwise(ordered) if other - one > 1e-6]
    bounds = [1e-12, *between, 1e9]
    seen = set()
    for bound in bounds:
        passes, fails = quantile_p_values(values, q, bound, partner)
        expected = "PASS" if passes <= 0.2 else "FAIL" if fails <= 0.2 else "INSUFFICIENT"
        asked = {"q": q, "confidence": 0.8, "normalized": normalized}
        (reason,) = found.check_margin_above(1, bound / scale, **asked).reasons  # type: ignore[arg-type]
        assert expected == str(reason.status)
        seen.add(expected)
    assert {"FAIL", "INSUFFICIENT"} <= seen


def test_the_interval_is_that_of_the_order_statistics(audit: Callable[..., Audit]) -> None:
    """At 95 % unless a confidence is given; of normalized values it is divided too."""
    found = audit()
    values, partner = brute_force.nearest(found.states(1))
    mean = float(np.mean(brute_force.norms(found.states(1))))
    for asked, confidence, scale in (
        ({}, 0.95, 1.0),
        ({"confidence": 0.8}, 0.8, 1.0),
        ({"normalized": True}, 0.95, mean),
    ):
        expected = quantile_interval(values, 0.2, confidence, partner)
        (reason,) = found.check_margin_above(1, 1e-12, q=0.2, **asked).reasons  # type: ignore[arg-type]
        assert reason.interval is not None
        assert expected.low / scale == pytest.approx(reason.interval.low, rel=1e-12)
        assert expected.high / scale == pytest.approx(reason.interval.high, rel=1e-12)
        assert confidence == reason.interval.confidence
