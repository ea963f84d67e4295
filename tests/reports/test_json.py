import json
from pathlib import Path

import pytest

from pytest_injectivity.core.files import write_whole
from pytest_injectivity.reports.json import SCHEMA, write_json
from pytest_injectivity.results.run_results import RunResults


def _findings() -> RunResults:
    findings = RunResults(said=["a sentence"], wrong_use=["a message"])
    findings.take("run", json.dumps({"model": "m"}))
    for layer in ("layer01", "norm", "layer01"):
        findings.take("layer", json.dumps({"layer": layer, "bits": None, "n": 3}))
    findings.take("layer", json.dumps({"layer": "layer01", "bits": 4, "n": 3}))
    findings.take("verdict", json.dumps({"check": "margin_above"}))
    return findings


def test_the_report_has_everything_that_was_found(tmp_path: Path) -> None:
    """Under a schema version; a layer that two workers measured is there once, a bit width apart."""
    write_json(str(tmp_path / "r.json"), _findings(), complete=True)
    report = json.loads((tmp_path / "r.json").read_text())
    assert {
        "schema": SCHEMA,
        "tool": "pytest-injectivity",
        "complete": True,
        "run": {"model": "m"},
        "layers": [
            {"layer": "layer01", "bits": None, "n": 3},
            {"layer": "norm", "bits": None, "n": 3},
            {"layer": "layer01", "bits": 4, "n": 3},
        ],
        "comparisons": [],
        "releases": [],
        "verdicts": [{"check": "margin_above"}],
        "said": ["a sentence"],
        "wrong_use": ["a message"],
        "outcome": None,
    } == report


def test_an_incomplete_run_says_so(tmp_path: Path) -> None:
    """A worker was lost."""
    write_json(str(tmp_path / "r.json"), RunResults(), complete=False)
    report = json.loads((tmp_path / "r.json").read_text())
    assert (False, None, []) == (report["complete"], report["run"], report["layers"])


def test_folders_are_made(tmp_path: Path) -> None:
    """As many as the path has."""
    write_json(str(tmp_path / "a" / "b" / "r.json"), RunResults(), complete=True)
    assert (tmp_path / "a" / "b" / "r.json").is_file()


def test_a_relative_path_is_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name alone is enough."""
    monkeypatch.chdir(tmp_path)
    write_json("r.json", RunResults(), complete=True)
    assert (tmp_path / "r.json").is_file()


@pytest.mark.parametrize("taken", ["folder", "parent"])
def test_what_cannot_be_written_is_an_oserror_and_leaves_nothing(
    tmp_path: Path, taken: str
) -> None:
    """The path is a folder, or its folder a file."""
    if taken == "folder":
        (tmp_path / "r.json").mkdir()
        path = tmp_path / "r.json"
    else:
        (tmp_path / "r.json").write_text("")
        path = tmp_path / "r.json" / "x"
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OSError):  # noqa: PT011 - which one is the system's affair
        write_json(str(path), RunResults(), complete=True)
    assert before == sorted(tmp_path.rglob("*"))


def test_a_failed_write_leaves_the_older_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No half file is ever seen, nor a temporary one left behind."""
    path = tmp_path / "r.json"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "new")
    assert [path] == list(tmp_path.iterdir())
    assert "old" == path.read_text()


def test_what_is_no_json_is_not_written(tmp_path: Path) -> None:
    """A NaN that slipped through is an error here, not in whoever reads the file."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(str(tmp_path / "r.json"), RunResults(run={"x": float("nan")}), complete=True)
    assert [] == list(tmp_path.iterdir())
