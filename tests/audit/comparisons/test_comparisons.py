"""A model beside its parent: the numbers of a comparison, and what is told of it."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pytest_injectivity import Audit, AuditConfig, stats
from pytest_injectivity.audit.comparisons.against import Against
from pytest_injectivity.core.strict_json import dumps, loads
from pytest_injectivity.reference import halves
from pytest_injectivity.results.summary import Comparison
from pytest_injectivity.testing import (
    plant_nan,
    tiny_decoder,
)
from tests.audit.comparisons.rounded import IDS, rounded
from tests.audits import audit_against


def test_a_comparison_is_what_the_numbers_are(shared: Audit) -> None:
    """Each by its own definition, from the two models' states."""
    found = shared.comparison(1)
    own, parents = (one.states(1).double().numpy() for one in (shared, shared.reference))
    drift = np.linalg.norm(own - parents, axis=1) / np.linalg.norm(parents, axis=1)
    assert (found.drift_median, found.drift_q99, found.drift_max) == pytest.approx(
        (stats.lower_quantile(drift, 0.5), stats.upper_quantile(drift, 0.01), drift.max())
    )
    for name, number in (
        ("margin", lambda one: one.geometry(1).margin()),
        ("normalized_margin", lambda one: one.geometry(1).margin(normalized=True)),
        ("colipschitz", lambda one: one.geometry(1).colipschitz()),
        ("normalized_colipschitz", lambda one: one.geometry(1).colipschitz(normalized=True)),
    ):
        kept = getattr(found, name)
        assert number(shared) / number(shared.reference) == pytest.approx(kept.value)
        assert 0 < kept.low <= kept.value <= kept.high
    assert 0 == found.new_collisions
    assert shared.resolution(1).value == found.resolution
    assert shared.reference.resolution(1).value == found.reference_resolution
    assert (None, None, None) == (found.sipit, found.reference_sipit, found.cross)
    assert found == loads(Comparison, dumps(found))


def test_the_spread_is_that_of_halves_searched_by_brute_force(shared: Audit) -> None:
    """The interval of what is kept: `paired_ratio` over the same halves, without short lists."""

    def margin(audit: Any) -> Any:
        points = audit.states(2).double()

        def number(rows: np.ndarray) -> float:
            apart = torch.cdist(points[rows], points[rows]).fill_diagonal_(math.inf)
            return stats.lower_quantile(apart.min(dim=1).values.numpy(), 0.05)

        return number

    def ratio(audit: Any) -> Any:
        points, ids = audit.states(2).double(), IDS

        def number(rows: np.ndarray) -> float:
            apart = torch.cdist(points[rows], points[rows]).fill_diagonal_(math.inf).numpy()
            edits = [
                [max(1, sum(a != b for a, b in zip(ids[i], ids[j], strict=True))) for j in rows]
                for i in rows
            ]
            return stats.lower_quantile((apart / np.array(edits)).min(axis=1), 0.05)

        return number

    both = (shared, shared.reference)
    expected = stats.paired_ratio(*map(margin, both), len(IDS))
    found = shared.comparisons.against.margin_kept(2, 0.05)
    assert (expected.value, expected.spread) == pytest.approx((found.value, found.spread))
    hamming = Audit(AuditConfig(**{**vars(shared.config), "prompt_metric": "hamming"}))
    expected = stats.paired_ratio(*map(ratio, (hamming, hamming.reference)), len(IDS))
    found = hamming.comparisons.against.colipschitz_kept(2, 0.05)
    assert (expected.value, expected.spread) == pytest.approx((found.value, found.spread))


def test_beyond_what_is_done_in_halves_a_sample_stands_for_all(tmp_path: Path) -> None:
    """The ratio stays that of all prompts; the spread is that of the smaller sample."""
    audit = audit_against(tmp_path, rounded(3), tiny_decoder(), IDS)
    whole = audit.comparisons.against.margin_kept(1, 0.1)
    some = Against(audit.measurements, audit.comparisons.against.parent, margin_prompts=10)
    assert whole.value == some.margin_kept(1, 0.1).value
    assert whole.spread != some.margin_kept(1, 0.1).spread


@pytest.mark.usefixtures("empty_store")
def test_one_search_serves_a_ratio_and_its_normalized_twin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each layer and quantity is searched once; both ratios are what they are by themselves."""
    searched = []
    search = halves.shortlists_of
    monkeypatch.setattr(
        halves, "shortlists_of", lambda *given: searched.append(given) or search(*given)
    )
    audit = audit_against(tmp_path, rounded(3), tiny_decoder(), IDS)
    against = audit.comparisons.against
    both = [against.margin_kept(1, 0.1, normalized=one) for one in (True, False)]
    assert 1 == len(searched)
    again = audit_against(tmp_path / "again", rounded(3), tiny_decoder(), IDS).comparisons.against
    assert both[::-1] == [again.margin_kept(1, 0.1, normalized=one) for one in (False, True)]


def test_rows_lost_are_counted_and_nothing_else(tmp_path: Path) -> None:
    """A comparison says whose."""
    audit = audit_against(tmp_path, rounded(), plant_nan(tiny_decoder(), 2), IDS)
    assert (0, 0) == (audit.comparison(1).not_finite, audit.comparison(1).reference_not_finite)
    found = audit.comparison("norm")
    assert (0, 40, None, None) == (
        found.not_finite,
        found.reference_not_finite,
        found.margin,
        found.new_collisions,
    )


def test_rates_are_measured_where_they_are_asked_for(tmp_path: Path) -> None:
    """SipIt's of both models, and the parent's of the child; then they stand in the comparison."""
    audit = audit_against(tmp_path, rounded(8), tiny_decoder(), IDS)
    own, parents = audit.sipit_rates(1, prompts=4, tokens=3)
    assert (1.0, 1.0) == (own.value, parents.value)
    read = audit.cross_inversion(1, prompts=4, tokens=3)
    assert (4, 3) == (read.prompts, read.tokens)
    assert 1.0 == read.argmin_prompts.value == read.argmin_tokens.value
    assert read.drift is not None
    assert 0 < read.drift < 0.1
    found = audit.comparison(1)
    assert (own, parents, read) == (found.sipit, found.reference_sipit, found.cross)
    assert found == loads(Comparison, dumps(found))
    (told,) = audit.news().comparisons
    assert found == told
    assert () == audit.news().comparisons


def test_news_tell_each_layer_once_and_again_when_more_is_known(tmp_path: Path) -> None:
    """A check of one layer, the same again, then a rate of it."""
    audit = audit_against(tmp_path, rounded(8), tiny_decoder(), IDS)
    audit.check_state_drift_below(1, relative=0.35)
    assert ["layer01"] == [one.layer for one in audit.news().comparisons]
    audit.check_margin_retained("1,2", fraction=0.5)
    assert ["layer02"] == [one.layer for one in audit.news().comparisons]
    audit.sipit_rates(1, prompts=2, tokens=2)
    news = audit.news()
    assert ["layer01"] == [one.layer for one in news.comparisons]
    assert news.run is not None
    assert f"{tmp_path / 'parent'} (float32, cpu)" == news.run.reference


def test_the_run_names_no_reference_that_nobody_asked_for(tmp_path: Path) -> None:
    """A check of the model alone loads no parent."""
    audit = audit_against(tmp_path, rounded(8), tiny_decoder(), IDS)
    audit.check_no_collisions(1)
    assert audit.run_summary().reference is None
    assert audit.target.beside is None


def test_each_assertion_is_its_check(shared: Audit) -> None:
    """It returns the verdict, or raises its text."""
    assert shared.assert_state_drift_below(1, 10.0).passed
    assert shared.assert_no_new_collisions(1).passed
    assert shared.assert_margin_retained(1, 0.01).passed
    assert shared.assert_colipschitz_retained(1, 0.01).passed
    with pytest.raises(AssertionError, match="FAIL state_drift_below layer01"):
        shared.assert_state_drift_below(1, 0.0)


def test_errors_that_are_measured_later_are_told(tmp_path: Path) -> None:
    """Of layers that were compared; the others are not compared for their sake."""
    audit = audit_against(tmp_path, rounded(8), tiny_decoder(), IDS)
    audit.check_state_drift_below(1, relative=0.35)
    (before,) = audit.news().comparisons
    audit.check_block_error_below("1,2", relative=0.5)
    audit.check_weight_error_below("1,2", relative=0.5)
    (after,) = audit.news().comparisons
    assert (None, None) == (before.block_error, before.weight_error)
    assert after.block_error is not None
    assert after.weight_error is not None
    assert before == replace(after, block_error=None, weight_error=None)
