"""Runs that stop before their end: at a failure they are red, otherwise interrupted and nothing else."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import Run as Audited
from tests.integration.support import output, run_pytest, said

RED = """
def test_red(injx):
    injx.assert_margin_above(1, 1e9)

def test_later(injx):
    injx.assert_no_collisions(1)
"""
EXIT = """
import pytest

def test_stop(assert_matches_baseline):
    pytest.exit("enough", returncode={})

def test_later(injx):
    injx.assert_no_collisions(1)
"""
REPORTS = ("--injx-report=json:r.json", "--injx-report=markdown:s.md", "--junitxml=junit.xml")


@pytest.mark.parametrize("status", [None, 0])
def test_an_interrupted_run_says_nothing_else(
    audited: Audited, pytester: pytest.Pytester, status: int | None
) -> None:
    """No failure of its own, no baseline, no green exit status, whatever the test asked for."""
    recording = ("--injx-baseline=kept", "--injx-update-baseline")
    result = audited(EXIT.format(status), *REPORTS, *recording)
    assert pytest.ExitCode.INTERRUPTED == result.ret, output(result)
    assert "FAILED" not in output(result)
    assert 'failures="0"' in (pytester.path / "junit.xml").read_text()
    assert not (pytester.path / "kept").exists()
    report = json.loads((pytester.path / "r.json").read_text())
    why = "the run was interrupted (enough): tests that had not run are not judged"
    assert [why] == report["outcome"]["why"]
    assert (False, True) == (report["complete"], report["outcome"]["interrupted"])
    head = (pytester.path / "s.md").read_text(encoding="utf-8")
    assert head.startswith("## ❌ Injectivity audit interrupted: no verdict\n")


@pytest.mark.parametrize("flag", ["-x", "--stepwise"])
def test_a_run_that_stops_at_a_red_gate_is_red(
    audited: Audited, pytester: pytest.Pytester, flag: str
) -> None:
    """The tests after it are not judged, which is said; pytest alone ends --stepwise as interrupted."""
    result = audited(RED, *REPORTS, flag)
    assert pytest.ExitCode.TESTS_FAILED == result.ret, output(result)
    assert "tests that had not run are not judged" in said(result)
    report = json.loads((pytester.path / "r.json").read_text())
    assert ["1 gate failed"] == report["outcome"]["why"]
    assert report["complete"] is True


@pytest.mark.slow
@pytest.mark.parametrize("suite", [RED, EXIT.format(None)], ids=["red", "interrupted"])
def test_workers_make_no_difference(
    tmp_path: Path,
    checkpoint: Callable[[str], Path],
    prompt_file: Callable[[list[str]], Path],
    texts: list[str],
    suite: str,
) -> None:
    """Neither is a worker lost, nor is a stop at a failure an interruption."""
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    flags = (f"--injx-model={checkpoint('generic')}", f"--injx-prompts={prompt_file(texts)}")
    done = run_pytest(tmp_path, suite, "-n", "2", "-x", *flags, *REPORTS)
    report = json.loads((tmp_path / "r.json").read_text())
    red = suite == RED
    assert (1 if red else 2) == done.status, done.text
    (why,) = report["outcome"]["why"]
    assert why.startswith("1 gate failed" if red else "the run was interrupted")
    assert red is report["complete"]
    assert "lost" not in done.text
