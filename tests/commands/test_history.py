"""``pytest-injectivity history``."""

import json
from pathlib import Path

import pytest

from pytest_injectivity.__main__ import main
from tests.light import LIGHT, without_torch
from tests.pasts import noisy, past, past_report, written

Printed = pytest.CaptureFixture[str]


def _drifted(run: int, label: str, metric: str) -> float:
    hit = run == 9 and label == "layer02" and metric != "resolution"
    return 0.95 if hit else noisy(1e-4)(run, label, metric)


def test_a_healthy_history_is_green(tmp_path: Path, capsys: Printed) -> None:
    """Exit status 0, a table, and the rule in a sentence."""
    assert 0 == main(["history", str(past(tmp_path / "past", noisy(1e-3)))])
    printed = capsys.readouterr().out
    assert "10 runs, 2026-10-01 00000000 to 2026-10-10 00000000" in printed
    assert "A number of the last run has drifted where" in printed
    assert printed.endswith("Green: nothing drifted in 10 runs of 1 model\n")


def test_a_drift_is_exit_status_1(tmp_path: Path, capsys: Printed) -> None:
    """Its cells are marked, and each has a line."""
    assert 1 == main(["history", str(past(tmp_path / "past", _drifted))])
    printed = capsys.readouterr().out
    (line,) = (one for one in printed.splitlines() if one.startswith("layer02: margin_q "))
    assert line.endswith("; allowed 2 %)")
    rows = {line.split()[0]: line for line in printed.splitlines() if line.strip()}
    assert 6 == rows["layer02"].count("◄")
    assert "◄" not in rows["layer03"]
    assert printed.endswith("Red: 6 in 10 runs of 1 model\n")


def test_a_page_of_trends_is_written(tmp_path: Path, capsys: Printed) -> None:
    """Beside the text, into a folder that is made."""
    page = tmp_path / "out" / "page.html"
    assert 1 == main(["history", str(past(tmp_path / "past", _drifted)), "--html", str(page)])
    assert "<h1>Red: 6 in 10 runs of 1 model</h1>" in page.read_text()
    assert "Red: 6" in capsys.readouterr().out


def test_a_page_that_cannot_be_written_is_exit_status_4(tmp_path: Path, capsys: Printed) -> None:
    """With the path and the reason."""
    (tmp_path / "taken").write_text("")
    page = tmp_path / "taken" / "page.html"
    assert 4 == main(["history", str(past(tmp_path / "past")), "--html", str(page)])
    assert f"error: --html {page} was not written: " in capsys.readouterr().err
    assert 4 == main(["history", str(tmp_path / "past"), "--html", ""])
    assert "error: --html . was not written: Is a directory\n" == capsys.readouterr().err


def test_too_few_runs_are_said_and_green(tmp_path: Path, capsys: Printed) -> None:
    """A history begins with one run."""
    assert 0 == main(["history", str(past(tmp_path / "past", runs=3))])
    printed = capsys.readouterr().out
    assert "not judged: the last of 4 runs is the first that is judged" in printed
    assert printed.endswith("Not judged: 3 runs of 1 model\n")


def test_a_damaged_report_is_exit_status_4_and_the_rest_is_shown(
    tmp_path: Path, capsys: Printed
) -> None:
    """What it said is not known, so the answer is not whole; a drift is red all the same."""
    folder = past(tmp_path / "past")
    (folder / "cut\x1b[31m.json").write_text(json.dumps(past_report(3))[:500])
    assert 4 == main(["history", str(folder)])
    printed = capsys.readouterr().out
    assert r"cut\x1b[31m.json: it is damaged, cut short or no JSON" in " ".join(printed.split())
    assert printed.endswith("Green: nothing drifted in 10 runs of 1 model, 1 file left out\n")
    past(folder, _drifted)
    assert 1 == main(["history", str(folder)])


def test_files_that_are_no_reports_are_named(tmp_path: Path, capsys: Printed) -> None:
    """They change no status, unless nothing else is there."""
    folder = past(tmp_path / "past")
    (folder / "other.json").write_text("[]")
    assert 0 == main(["history", str(folder)])
    assert "other.json: it is no report of a run" in " ".join(capsys.readouterr().out.split())
    assert 4 == main(["history", str(folder / "other.json")])


def test_a_change_that_was_meant_begins_a_new_history(tmp_path: Path, capsys: Printed) -> None:
    """The runs before it are named."""
    folder = past(tmp_path / "past", lambda run, _label, _metric: 0.8 if run > 4 else 1.0)
    assert 1 == main(["history", str(folder)])
    assert 0 == main(["history", str(folder), "--since", "2026-10-06"])
    assert "run04.json: it was made before 2026-10-06" in capsys.readouterr().out
    assert 4 == main(["history", str(folder), "--since", "then"])
    assert "--since 'then' is no day" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["history"], ["history", "."], ["history", "nowhere"]])
def test_nothing_to_read_is_exit_status_4(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """No place, a place without reports, and none at all."""
    monkeypatch.chdir(tmp_path)
    try:
        status: object = main(arguments)
    except SystemExit as ended:
        status = ended.code
    assert 4 == status


def test_a_history_needs_no_torch(tmp_path: Path) -> None:
    """Nor numpy, also with a page, and it prints where a log knows ASCII alone."""
    folder, page = past(tmp_path / "past"), tmp_path / "page.html"
    assert without_torch("history", str(folder), "--html", str(page)).endswith(LIGHT)


def test_commands_in_names_do_not_reach_github(
    tmp_path: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model's name comes from a file that anybody may have written."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    reports = [past_report(at, model="##[error]x\n::error::y") for at in range(4)]
    assert 0 == main(["history", str(written(tmp_path / "past", reports))])
    printed = capsys.readouterr().out
    assert "##[" not in printed
    assert not any(line.lstrip().startswith("::") for line in printed.splitlines())
