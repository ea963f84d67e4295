import json
import stat
from datetime import UTC, datetime, timedelta

import pytest

from pytest_injectivity.core.commits import VARIABLES
from pytest_injectivity.results.saved_runs import REPORT_SCHEMA as SCHEMA
from tests.integration.conftest import Run
from tests.integration.support import output, said

GATE = """
def test_gate(injx, injx_layer):
    injx.assert_no_collisions(injx_layer)

def test_margin(injx):
    injx.assert_margin_above("all", 1e9, normalized=True)
"""


def test_the_report_holds_what_was_found(audited: Run, pytester: pytest.Pytester) -> None:
    """Schema, run, a summary a layer, every verdict with its reasons; and it is JSON."""
    result = audited(GATE, "--injx-report=json:out/report.json")
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    report = json.loads(
        (pytester.path / "out" / "report.json").read_text(),
        parse_constant=lambda name: pytest.fail(f"{name} is not JSON"),
    )
    assert SCHEMA == report["schema"]
    assert ("pytest-injectivity", True) == (report["tool"], report["complete"])
    assert ("gpt2", 2, 16, 12) == tuple(
        report["run"][name] for name in ("family", "n_layers", "hidden", "n")
    )
    assert ["layer01", "layer02", "norm"] == [layer["layer"] for layer in report["layers"]]
    assert ["PASS", "PASS", "PASS", "FAIL"] == [v["status"] for v in report["verdicts"]]
    reason = report["verdicts"][3]["reasons"][0]
    layer = report["layers"][0]
    assert pytest.approx(layer["margin_q"] / layer["mean_norm"]) == reason["value"]
    assert (1e9, ">=", "FAIL") == (reason["bound"], reason["relation"], reason["status"])
    assert [] == report["wrong_use"]


def test_the_report_says_when_it_was_made_and_of_which_commit(
    audited: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the service that runs the job says; the time has its offset from UTC."""
    monkeypatch.setenv("GITHUB_SHA", "0123456789" * 4)
    audited(GATE, "--injx-report=json:r.json")
    origin = json.loads((pytester.path / "r.json").read_text())["origin"]
    assert "0123456789" * 4 == origin["commit"]
    assert abs(datetime.now(UTC) - datetime.fromisoformat(origin["date"])) < timedelta(hours=1)


def test_the_commit_is_that_of_the_folder_that_pytest_was_started_in(
    audited: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not that of the suite's folder, which may lie in an installed package."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for folder, commit in ((pytester.path, "1" * 40), (pytester.mkdir("suite"), "2" * 40)):
        (folder / ".git").mkdir()
        (folder / ".git" / "HEAD").write_text(commit)
    audited(GATE, "--rootdir=suite", "--injx-report=json:r.json")
    assert "1" * 40 == json.loads((pytester.path / "r.json").read_text())["origin"]["commit"]


def test_a_nan_layer_is_still_json(audited: Run, pytester: pytest.Pytester) -> None:
    """Values that are not finite are texts, not the NaN that JSON does not have."""
    audited(GATE, "--injx-report=json:r.json", model="nan-from-layer-3")
    report = json.loads(
        (pytester.path / "r.json").read_text(),
        parse_constant=lambda name: pytest.fail(f"{name} is not JSON"),
    )
    reasons = report["verdicts"][-1]["reasons"]
    assert ["nan", "nan", "nan"] == [reason["value"] for reason in reasons[2:]]
    lost = {layer["layer"]: (layer["not_finite"], layer["margin"]) for layer in report["layers"]}
    assert (12, None) == lost["layer03"]


def test_several_reports_may_be_asked_for(audited: Run, pytester: pytest.Pytester) -> None:
    """The flag is repeatable; each file is written."""
    audited(GATE, "--injx-report=json:a.json", "--injx-report=json:b.json")
    a, b = ((pytester.path / name).read_text() for name in ("a.json", "b.json"))
    assert a == b


def test_an_older_report_is_replaced(audited: Run, pytester: pytest.Pytester) -> None:
    """The file is the new one, and no temporary file is left beside it."""
    (pytester.path / "r.json").write_text("old")
    audited(GATE, "--injx-report=json:r.json")
    assert SCHEMA == json.loads((pytester.path / "r.json").read_text())["schema"]
    assert [] == [path.name for path in pytester.path.iterdir() if path.name.startswith(".r.json")]


def test_the_ini_names_reports_one_a_line(audited: Run, pytester: pytest.Pytester) -> None:
    """The ini twin of a repeatable flag is a list."""
    pytester.makeini("[pytest]\ninjx_report =\n    json:a.json\n    json:b.json\n")
    audited(GATE)
    assert (pytester.path / "a.json").is_file()
    assert (pytester.path / "b.json").is_file()


@pytest.mark.parametrize("place", ["a file", "a folder"])
def test_a_report_that_cannot_be_written_is_exit_status_4(
    audited: Run, pytester: pytest.Pytester, place: str
) -> None:
    """It is said which one and why, before a test runs."""
    if place == "a file":
        (pytester.path / "taken").write_text("a file, not a folder")
    else:
        (pytester.path / "taken" / "r.json").mkdir(parents=True)
    result = audited(
        "def test_gate(injx):\n    injx.assert_no_collisions('all')\n",
        "--injx-report=json:taken/r.json",
    )
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert "--injx-report=json:taken/r.json cannot be written: " in said(result)
    assert "give a file in a folder that can be written to" in said(result)
    assert "collected" not in output(result)
    assert "Traceback" not in output(result)
    assert [] == [p.name for p in pytester.path.rglob(".r.json*")]


def test_a_report_that_cannot_be_written_at_the_end_is_exit_status_4(
    audited: Run,
) -> None:
    """The folder was taken meanwhile: the run says so, and shows its table all the same."""
    result = audited(
        "from pathlib import Path\n\n"
        "def test_gate(injx):\n"
        "    injx.assert_no_collisions('all')\n"
        "    Path('taken').write_text('a file, not a folder')\n",
        "--injx-report=json:taken/r.json",
    )
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert "--injx-report=json:taken/r.json was not written: " in said(result)
    assert "1 of 1 verdict PASS" in output(result)
    assert "Traceback" not in output(result)


def test_no_report_is_written_for_collect_only(audited: Run, pytester: pytest.Pytester) -> None:
    """Nothing ran, so an older report stays as it is."""
    (pytester.path / "r.json").write_text("old")
    result = audited(GATE, "--collect-only", "--injx-report=json:r.json")
    assert pytest.ExitCode.OK == result.ret
    assert "old" == (pytester.path / "r.json").read_text()


def test_wrong_use_is_in_the_report(audited: Run, pytester: pytest.Pytester) -> None:
    """What could not be done is part of what was found."""
    audited(
        "def test_gate(injx):\n    injx.assert_margin_above(99, margin=1e-12)\n",
        "--injx-report=json:r.json",
    )
    report = json.loads((pytester.path / "r.json").read_text())
    (message,) = report["wrong_use"]
    assert message.startswith("LayerError: layer 99 is out of range")


def test_the_report_is_as_readable_as_other_files(audited: Run, pytester: pytest.Pytester) -> None:
    """A CI step of another user may read it: the mode follows the umask, as for any file."""
    audited(GATE, "--injx-report=json:r.json")
    (pytester.path / "plain").write_text("")
    modes = [stat.S_IMODE((pytester.path / name).stat().st_mode) for name in ("r.json", "plain")]
    assert modes[1] == modes[0]
