"""The contract of every kind of report."""

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_injectivity.config.parsers import REPORT_KINDS, reports
from pytest_injectivity.config.report_target import ReportTarget
from pytest_injectivity.reports.registry import write_report, writer
from pytest_injectivity.results.outcome import FailedTest, Outcome
from pytest_injectivity.results.run_results import RunResults
from pytest_injectivity.results.summary import LayerSummary
from pytest_injectivity.results.verdict import Reason, Status, Verdict
from tests.reports.runner import obeyed
from tests.results.test_releases import SUMMARY
from tests.results.test_summary import RUN

ODD = "\x1b[2J::error::x ##[set-output name=a]b"
RED = Verdict(
    "margin_above",
    (Reason("norm", Status.FAIL, "margin", 0.5, 1.0, ">=", ODD),),
    ODD,
    "pytest t.py",
)
RESULTS = RunResults(
    run=RUN,
    layers=(LayerSummary("norm", None, 3, numbers={"margin": float("nan")}),),
    releases=(SUMMARY,),
    verdicts=(RED,),
    said=("a sentence",),
    outcome=Outcome(1, failed=(FailedTest("t.py::t", "t.py", 1, (RED,)),)),
)

# Kinds that write more than one file.
BESIDE = {"decision": ["report", "report.md"]}

kinds = pytest.mark.parametrize("kind", REPORT_KINDS)


@kinds
def test_a_report_is_written_with_the_folders_of_its_path(kind: str, tmp_path: Path) -> None:
    """Whole: nothing temporary is left beside it."""
    path = tmp_path / "a" / "report"
    write_report(ReportTarget(kind, str(path)), RESULTS)
    assert "norm" in path.read_text(encoding="utf-8")
    assert sorted(BESIDE.get(kind, ["report"])) == sorted(one.name for one in path.parent.iterdir())


@kinds
def test_the_same_results_give_the_same_report(kind: str, tmp_path: Path) -> None:
    """No date, no time, no random name."""
    for name in ("a", "b"):
        write_report(ReportTarget(kind, str(tmp_path / name)), RESULTS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@kinds
def test_results_of_nothing_are_written(kind: str, tmp_path: Path) -> None:
    """A run that measured nothing has its report too."""
    write_report(ReportTarget(kind, str(tmp_path / "r")), RunResults())
    assert (tmp_path / "r").is_file()


@kinds
def test_a_report_that_cannot_be_written_is_an_oserror(kind: str, tmp_path: Path) -> None:
    """The plugin says so and the run goes on."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_report(ReportTarget(kind, str(tmp_path / "folder")), RESULTS)
    assert [] == list((tmp_path / "folder").iterdir())


@kinds
def test_no_report_has_control_characters(kind: str, tmp_path: Path) -> None:
    """Names of models and prompts come from anybody."""
    path = tmp_path / "r"
    write_report(ReportTarget(kind, str(path)), RESULTS)
    assert "\x1b" not in path.read_text(encoding="utf-8")


def test_annotations_are_the_only_commands(tmp_path: Path) -> None:
    """Of what is printed in a workflow the runner obeys no other."""
    path = tmp_path / "r"
    write_report(ReportTarget("annotations", str(path)), RESULTS)
    assert ["error"] == [one.name for one in obeyed(path.read_text(encoding="utf-8"))]


@kinds
def test_every_kind_is_accepted_by_the_option(kind: str) -> None:
    """``--injx-report=KIND:PATH``, and the option's help says what it is."""
    assert (ReportTarget(kind, "a:b"),) == reports(f"{kind}:a:b")
    assert REPORT_KINDS[kind]


def test_writing_reports_loads_no_torch() -> None:
    """Nor numpy: results are plain numbers."""
    assert REPORT_KINDS
    code = (
        "import sys\n"
        "from pytest_injectivity.reports.registry import REPORT_KINDS, writer\n"
        "assert all(map(writer, REPORT_KINDS))\n"
        "print(*{'numpy', 'torch', 'transformers', 'matplotlib'} & set(sys.modules))\n"
    )
    done = subprocess.run(  # noqa: S603 - python itself
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "" == done.stdout.strip()
    assert callable(writer("json"))
