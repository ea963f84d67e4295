import math

import pytest

from pytest_injectivity.audit.checks.matches_baseline import (
    judge_recorded,
    judge_recording,
    unrecorded_file,
)
from pytest_injectivity.core.strict_json import plain
from pytest_injectivity.results.changes import read_tolerances
from pytest_injectivity.results.saved_runs import numbers_of
from pytest_injectivity.results.summary import LayerSummary
from pytest_injectivity.results.verdict import Status, Verdict

NUMBERS = {"not_finite": 0, "collisions": 0, "margin": 1.0, "margin_q": 2.0, "resolution": 1e-5}
LAYER = LayerSummary("layer02", None, 9, numbers=NUMBERS)
WAS = numbers_of(LAYER)
DEFAULTS = read_tolerances(None)


def test_a_layer_as_recorded_passes() -> None:
    """Its reason is the number that went farthest, within what is allowed."""
    now = WAS | {"margin_q": 1.99, "margin": 1.04}
    reason, stale = judge_recorded(LAYER, WAS, now, DEFAULTS)
    assert (Status.PASS, ()) == (reason.status, stale)
    assert "margin_q was 2, is 1.99, meets >= 1.98" == reason.summary


def test_the_worst_number_is_named_first_and_all_are_evidence() -> None:
    """Was, is, how much that is, and what is allowed."""
    now = WAS | {"margin_q": 1.0, "margin": 0.9, "resolution": 9e-6}
    reason, stale = judge_recorded(LAYER, WAS, now, DEFAULTS)
    assert (Status.FAIL, ()) == (reason.status, stale)
    assert "margin_q was 2, is 1, wants >= 1.98" == reason.summary
    assert (
        "margin_q 2 -> 1 (-50 %), allowed >= 1.98 (tolerance 0.01)",
        "margin 1 -> 0.9 (-10 %), allowed >= 0.95 (tolerance 0.05)",
    ) == reason.evidence
    assert "tolerance={'margin_q': 0.5, 'margin': 0.1}" == reason.would_pass
    assert (2.0, 1.0) == (reason.figures["margin_q.was"], reason.figures["margin_q.now"])


def test_what_is_better_is_told_apart() -> None:
    """Of a layer that passes."""
    reason, stale = judge_recorded(LAYER, WAS, WAS | {"margin_q": 3.0}, DEFAULTS)
    assert Status.PASS is reason.status
    assert ["margin_q 2 -> 3 (+50 %)"] == [change.words for change in stale]


def test_what_no_tolerance_lets_pass_is_said() -> None:
    """A first collision, or a number that is lost."""
    reason, _ = judge_recorded(LAYER, WAS, WAS | {"collisions": 2}, DEFAULTS)
    assert "no tolerance: collisions 0 -> 2" == reason.would_pass
    lost, _ = judge_recorded(
        LAYER, WAS, {k: v for k, v in WAS.items() if k != "resolution"}, DEFAULTS
    )
    assert "resolution was 1e-05, is none" == lost.summary
    assert math.isnan(lost.value)


@pytest.mark.parametrize("was", [None, {}])
def test_a_layer_without_a_record_fails(was: dict[str, float] | None) -> None:
    """Nothing was compared."""
    reason, _ = judge_recorded(LAYER, was, WAS, DEFAULTS)
    assert (Status.FAIL, "the baseline does not have layer02") == (reason.status, reason.summary)


def test_numbers_that_were_not_recorded_are_not_judged() -> None:
    """A baseline of an older version has fewer."""
    reason, _ = judge_recorded(LAYER, {"margin_q": 2.0}, WAS, DEFAULTS)
    assert Status.PASS is reason.status
    assert {"margin_q.was", "margin_q.now"} == set(reason.figures)


def test_what_is_not_finite_is_not_recorded() -> None:
    """Rows, or a number."""
    assert Status.PASS is judge_recording(LAYER, WAS).status
    assert Status.FAIL is judge_recording(LAYER, WAS | {"margin": math.nan}).status
    lost = LayerSummary("norm", 4, 6, numbers={"not_finite": 3})
    assert Status.FAIL is judge_recording(lost, numbers_of(lost)).status


def test_a_verdict_of_no_baseline_names_every_layer() -> None:
    """None of them was compared."""
    verdict = Verdict("matches_baseline", tuple(unrecorded_file(["layer01", "norm"])), "", "")
    assert ["layer01", "norm"] == [reason.where for reason in verdict.failing]


def test_reasons_are_plain_data() -> None:
    """JSON has no NaN."""
    reason, _ = judge_recorded(LAYER, WAS, {}, DEFAULTS)
    assert "nan" == plain(Verdict("c", (reason,), "", ""))["reasons"][0]["value"]
