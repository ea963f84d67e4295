"""The numbers of an audit held against those recorded in a baseline file."""

import json
import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from pytest_injectivity import Audit, GateFailure, OptionError, Status, Verdict
from pytest_injectivity.results.saved_runs import read_recorded
from tests.audit.baselines.conftest import Make, Record, edit, scale


class Listener:
    """Keeps what is announced."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def announce(self, sentence: str) -> None:
        """Keep it."""
        self.heard.append(sentence)

    def foretell(self, _sentence: str) -> None:
        """Keep nothing."""

    def progress(self, _label: str, _total: int) -> Any:
        """Show nothing."""
        return nullcontext(lambda _done: None)


@pytest.mark.parametrize("tolerance", [None, 0.0])
def test_what_was_recorded_passes(make: Make, record: Record, tolerance: float | None) -> None:
    """The same numbers again, at any tolerance: every layer, with the one that moved most."""
    record()
    verdict = make().check_matches_baseline(tolerance=tolerance)
    assert Status.PASS is verdict.status
    assert ["layer01", "layer02", "norm"] == [reason.where for reason in verdict.reasons]
    assert 0 == len(verdict.notes)
    figures = verdict.reasons[0].figures
    assert pytest.approx(figures["margin_q.was"], rel=1e-5) == figures["margin_q.now"]


def test_a_missing_baseline_fails_and_writes_nothing(make: Make, tmp_path: Path) -> None:
    """The verdict names the file and the command that makes it; nothing is measured for it."""
    audit = make()
    verdict = audit.check_matches_baseline()
    assert Status.FAIL is verdict.status
    assert "FAIL matches_baseline layer01: no baseline is recorded (+2 more)" == verdict.first_line
    assert f"there is no {tmp_path / 'baselines' / 'model--prompts.jsonl.json'}" in verdict.text
    assert "--injx-update-baseline" in verdict.text
    assert f"--injx-baseline={tmp_path / 'baselines'}" in verdict.text
    assert [] == list(tmp_path.iterdir())
    assert () == audit.measurements.measured


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        *((name, 1.2) for name in ("margin", "margin_q", "colipschitz", "colipschitz_q")),
        ("mean_norm", 1.2),
        ("median_norm", 0.8),
        ("resolution", 0.3),
    ],
)
def test_a_number_that_got_worse_fails_its_layer(
    make: Make, record: Record, name: str, factor: float
) -> None:
    """Named with layer, was, is and what is allowed; the tolerance that it says passes does."""
    path = record()
    was = scale(path, name, factor)
    audit = make()
    verdict = audit.check_matches_baseline()
    assert ["layer02"] == [reason.where for reason in verdict.failing]
    (reason,) = verdict.failing
    assert reason.quantity.startswith(f"{name} was ")
    assert pytest.approx(was, rel=1e-5) == reason.value
    assert verdict.first_line.startswith(f"FAIL matches_baseline layer02: {name}"[:40])
    assert f"{name} {reason.quantity.split()[2].rstrip(',')} -> " in reason.evidence[0]
    assert f"allowed {reason.relation} " in reason.evidence[0]
    needed = json.loads(reason.would_pass.removeprefix("tolerance=").replace("'", '"'))
    assert {name} == set(needed)
    assert audit.check_matches_baseline(tolerance=needed).passed
    smaller = {name: needed[name] - 2e-4}
    assert not audit.check_matches_baseline(tolerance=smaller).passed


def test_a_collision_fails(make: Make, record: Record) -> None:
    """One more than recorded, whatever the tolerance of the others; near fractions likewise."""
    path = record()
    edit(path, lambda plain: plain["layers"]["norm"].update(collisions=0, not_finite=0))
    audit = make()
    numbers = audit.layer_summary("norm").with_numbers(collisions=1, near_fractions={"0.01": 0.5})
    audit.measurements.layer_summary = lambda *_: numbers  # type: ignore[method-assign]
    verdict = audit.check_matches_baseline("norm", tolerance=10.0)
    assert Status.FAIL is verdict.status
    assert "collisions 0 -> 1, allowed <= 0 (tolerance 0)" in verdict.text
    assert "near_fractions 0.01 0 -> 0.5" in verdict.text
    assert "would have passed: no tolerance" in verdict.text


def test_all_layers_that_got_worse_are_named(make: Make, record: Record) -> None:
    """Not the first alone."""
    path = record()
    for layer in ("layer01", "norm"):
        scale(path, "margin_q", 2.0, layer)
    assert ["layer01", "norm"] == [one.where for one in make().check_matches_baseline().failing]


def test_a_layer_that_is_not_recorded_fails(make: Make, record: Record) -> None:
    """A gate that lost its numbers is no gate; so do bits that were not recorded."""
    record(layer=[1, 2])
    verdict = make().check_matches_baseline("all")
    assert ["norm"] == [reason.where for reason in verdict.failing]
    assert "the baseline does not have norm" in verdict.first_line
    assert make().check_matches_baseline([1, 2]).passed
    rounded = make().check_matches_baseline(1, bits=4)
    assert "the baseline does not have layer01 rounded to 4" in rounded.first_line


def test_a_model_that_rounds_as_it_runs_has_a_baseline_of_its_own(
    make: Make, record: Record
) -> None:
    """Its numbers are others, and a file that is named itself is refused for them."""
    plain, rounded = record(), record(activation_bits=5)
    assert "model--activations-5--prompts.jsonl.json" == rounded.name
    assert make(activation_bits=5).check_matches_baseline().passed
    with pytest.raises(OptionError, match="activations none, here 5"):
        make(activation_bits=5, baseline=str(plain)).check_matches_baseline()


def test_rounded_states_are_recorded_under_their_own_name(make: Make, record: Record) -> None:
    """And compared with nothing else."""
    path = record(layer=1, bits=4)
    assert ["layer01 rounded to 4"] == list(read_recorded(path).layers)
    assert make().check_matches_baseline(1, bits=4).passed
    assert not make().check_matches_baseline(1).passed
    scale(path, "margin_q", 3.0, "layer01 rounded to 4")
    assert "at 4 bits was " in make().check_matches_baseline(1, bits=4).first_line


def test_a_number_that_can_no_longer_be_measured_fails(make: Make, record: Record) -> None:
    """As when rows are not finite; a number that somebody took out of the file is not compared."""
    path = record()
    audit = make()
    lost = audit.layer_summary("norm").with_numbers(resolution=None)
    audit.measurements.layer_summary = lambda *_: lost  # type: ignore[method-assign]
    verdict = audit.check_matches_baseline("norm")
    assert "resolution was " in verdict.first_line
    assert "is none" in verdict.first_line
    assert "it was recorded and cannot be measured any more" in verdict.text
    edit(path, lambda plain: plain["layers"]["norm"].pop("resolution"))
    again = make()
    again.layer_summary = lambda *_: lost  # type: ignore[method-assign]
    assert again.check_matches_baseline("norm").passed


def test_nan_fails(make: Make, record: Record) -> None:
    """Of a number, and of rows: the record had all of them finite."""
    record()
    audit = make()
    odd = audit.layer_summary("norm").with_numbers(margin_q=math.nan)
    audit.measurements.layer_summary = lambda *_: odd  # type: ignore[method-assign]
    verdict = audit.check_matches_baseline("norm", tolerance=1e9)
    assert Status.FAIL is verdict.status
    assert "margin_q" in verdict.first_line


def test_rows_that_are_not_finite_fail(make: Make, record: Record, things: Path) -> None:
    """A checkpoint that became NaN is held against the record of the one that was not."""
    path = record()
    audit = make("nan", baseline=str(path))
    verdict = audit.check_matches_baseline(tolerance=1e9)
    assert ["layer02", "norm"] == [reason.where for reason in verdict.failing]
    assert "not_finite 0 -> 8" in verdict.text
    assert things.exists()


def test_what_is_not_finite_is_not_recorded(make: Make) -> None:
    """Nothing could be compared with it."""
    audit = make("nan", update_baseline=True)
    verdict = audit.check_matches_baseline()
    assert ["layer02", "norm"] == [reason.where for reason in verdict.failing]
    assert "not recorded: 8 rows are not finite" in verdict.first_line


def test_a_stale_baseline_passes_and_is_announced(make: Make, record: Record) -> None:
    """What is better than recorded by more than the tolerance: by a hair it is not."""
    path = record()
    scale(path, "margin_q", 0.5)
    listener = Listener()
    verdict = make(watcher=listener).check_matches_baseline()
    assert Status.PASS is verdict.status
    (said,) = [line for line in listener.heard if "stale" in line]
    assert said in verdict.notes
    assert "layer02 margin_q " in said
    assert "(+100 %)" in said
    assert "--injx-update-baseline" in said
    scale(path, "margin_q", 2 * 0.995)
    listener.heard.clear()
    assert make(watcher=listener).check_matches_baseline().passed
    assert not [line for line in listener.heard if "stale" in line]


@pytest.mark.parametrize(
    ("tolerance", "passes"),
    [
        (0.5, True),
        (0.2, False),
        ({"margin_q": 0.5}, True),
        ({"margin": 0.5}, False),
        ({1: 0.0, 2: 0.5, "norm": {"resolution": 2.0}}, True),
        ({1: 0.5, "2:": 0.0, "norm": 0.5}, False),
        ({2: {"margin_q": 0.4}}, True),
    ],
)
def test_tolerances_differ_by_metric_and_layer(
    make: Make, record: Record, tolerance: Any, *, passes: bool
) -> None:
    """One for all, by metric, by layer, or by metric within a layer."""
    path = record()
    scale(path, "margin_q", 1.5)  # a third less than recorded
    verdict = make().check_matches_baseline(tolerance=tolerance)
    assert passes == verdict.passed, verdict.text


def test_the_assertion_raises_what_the_check_returns(make: Make, record: Record) -> None:
    """As every gate's."""
    assert "assert_matches_baseline" == Audit.assert_matches_baseline.__name__
    audit = make()
    with pytest.raises(GateFailure) as raised:
        audit.assert_matches_baseline()
    assert audit.verdicts[-1].text == str(raised.value)
    record()
    assert isinstance(make().assert_matches_baseline(), Verdict)
