from pathlib import Path
from typing import Any

import pytest

from pytest_injectivity.results.history.history import History, read_history
from tests.pasts import past_report, verdict, written


def _history(folder: Path, *reports: dict[str, Any]) -> History:
    return read_history([written(folder, reports)])


def _with(*statuses: str) -> list[dict[str, Any]]:
    """Runs with a verdict each; without one where the status is empty."""
    return [
        {**past_report(at), "verdicts": [verdict(status)] if status else []}
        for at, status in enumerate(statuses)
    ]


def test_a_layer_that_is_gone_is_one_line(tmp_path: Path) -> None:
    """Not one for each of its numbers."""
    last = past_report(5)
    last["layers"] = last["layers"][:-1]
    history = _history(tmp_path, *map(past_report, range(5)), last)
    assert ("norm: gone: the last run did not measure it",) == history.flags


def test_a_metric_that_is_gone_is_a_line(tmp_path: Path) -> None:
    """Such as a margin that a layer full of NaN does not have."""
    last = past_report(5)
    last["layers"][0]["margin_q"] = None
    history = _history(tmp_path, *map(past_report, range(5)), last)
    assert ("layer01: margin_q: the last run did not measure it",) == history.flags


@pytest.mark.parametrize("status", ["FAIL", "INSUFFICIENT"])
def test_a_verdict_that_turned_red_is_a_line(tmp_path: Path, status: str) -> None:
    """With the last run that passed."""
    history = _history(tmp_path, *_with("PASS", "PASS", "PASS", "PASS", status, status))
    said = f"norm: margin_above is {status}, and was PASS on 2026-10-04 00000000"
    assert (said,) == history.flags


@pytest.mark.parametrize(
    "statuses", [("FAIL",) * 5, ("PASS",) * 5, ("PASS", "FAIL", "FAIL", "FAIL", "PASS")]
)
def test_a_verdict_that_did_not_turn_is_none(tmp_path: Path, statuses: tuple[str, ...]) -> None:
    """One that never passed makes its own run red, and one that passes again is green."""
    assert () == _history(tmp_path, *_with(*statuses)).flags


def test_a_verdict_that_is_gone_is_a_line(tmp_path: Path) -> None:
    """A gate that nobody asks for any more passes nothing."""
    (flag,) = _history(tmp_path, *_with("PASS", "PASS", "PASS", "PASS", "")).flags
    assert flag.startswith("norm: margin_above is gone: the last run did not judge it")
    assert () == _history(tmp_path / "rare", *_with("PASS", "", "", "", "")).flags


def test_equal_checks_are_told_apart_by_their_number(tmp_path: Path) -> None:
    """The second of them that turned red is not covered by the first."""
    runs = [
        {**past_report(at), "verdicts": [verdict("PASS"), verdict("FAIL" if at == 4 else "PASS")]}
        for at in range(5)
    ]
    (flag,) = _history(tmp_path, *runs).flags
    assert flag.startswith("norm: margin_above 2 is FAIL")


def test_the_newest_report_that_cannot_be_judged_is_red(tmp_path: Path) -> None:
    """The run before it would be taken for today's; an older one is only named."""
    broken = {**past_report(4), "complete": False}
    (flag,) = _history(tmp_path / "new", *map(past_report, range(4)), broken).flags
    assert "the newest report is not judged: the run is not complete" in flag
    older = _history(tmp_path / "old", *map(past_report, range(4)), broken, past_report(5))
    assert () == older.flags
    assert 1 == len(older.left_out)


def test_each_model_of_several_is_judged(tmp_path: Path) -> None:
    """By name."""
    runs = []
    for at in range(5):
        one = past_report(at)
        parts = {key: one.pop(key) for key in ("run", "layers", "releases", "comparisons")}
        other = {**parts, "layers": [dict(layer) for layer in parts["layers"]]}
        other["layers"][0]["margin_q"] *= 0.9 if at == 4 else 1.0
        runs.append({**one, "models": [{"name": "awq", **parts}, {"name": "nf4", **other}]})
    history = _history(tmp_path, *runs)
    assert [("awq", 0), ("nf4", 1)] == [
        (one.track.name, len(one.flags)) for one in history.findings
    ]
