import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest

from pytest_injectivity.core.files import write_whole
from pytest_injectivity.reports.json import write_report
from pytest_injectivity.results.metrics import METRICS
from pytest_injectivity.results.run_results import RunResults
from pytest_injectivity.results.saved_runs import REPORT_SCHEMA
from pytest_injectivity.results.summary import LayerSummary
from tests.results.test_summary import RUN


def test_the_report_has_everything_that_was_found(tmp_path: Path) -> None:
    """Under a schema version."""
    layer = LayerSummary("layer01", 4, 3, numbers={"margin": 0.5, "near_fractions": {"0.01": 0.25}})
    results = RunResults(run=RUN, layers=(layer,), said=("a sentence",), wrong_use=("a message",))
    write_report(tmp_path / "r.json", results)
    report = json.loads((tmp_path / "r.json").read_text())
    numbers = {metric.name: None for metric in METRICS}
    numbers |= {"margin": 0.5, "near_fractions": {"0.01": 0.25}}
    given = {"layer": "layer01", "bits": 4, "n": 3}
    given |= dict.fromkeys(("trend", "scale", "certificate"))
    assert {
        "schema": REPORT_SCHEMA,
        "tool": "pytest-injectivity",
        "complete": True,
        "run": asdict(RUN) | {"prompt_notes": []},
        "layers": [given | numbers],
        "comparisons": [],
        "releases": [],
        "verdicts": [],
        "said": ["a sentence"],
        "wrong_use": ["a message"],
        "outcome": None,
        "models": [],
        "decision": None,
        "origin": None,
        "sweeps": [],
    } == report


def test_an_incomplete_run_says_so(tmp_path: Path) -> None:
    """A worker was lost."""
    write_report(tmp_path / "r.json", RunResults(complete=False))
    report = json.loads((tmp_path / "r.json").read_text())
    assert (False, None, []) == (report["complete"], report["run"], report["layers"])


def test_folders_are_made(tmp_path: Path) -> None:
    """As many as the path has."""
    write_report(tmp_path / "a" / "b" / "r.json", RunResults())
    assert (tmp_path / "a" / "b" / "r.json").is_file()


def test_a_relative_path_is_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name alone is enough."""
    monkeypatch.chdir(tmp_path)
    write_report(Path("r.json"), RunResults())
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
        write_report(path, RunResults())
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


def test_a_number_that_is_not_finite_is_a_text(tmp_path: Path) -> None:
    """JSON has none."""
    layer = LayerSummary("norm", None, 3, numbers={"margin": math.nan})
    write_report(tmp_path / "r.json", RunResults(layers=(layer,)))
    (written,) = json.loads((tmp_path / "r.json").read_text())["layers"]
    assert "nan" == written["margin"]
