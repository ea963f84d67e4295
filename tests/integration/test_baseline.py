"""Baselines in git: recorded, compared, refused."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Run as Audited
from tests.integration.support import cases, output, properties, said

GATE = """
def test_baseline(assert_matches_baseline, injx_layer):
    assert_matches_baseline(injx_layer)
"""
BASELINE = "--injx-baseline=kept"
UPDATE = "--injx-update-baseline"

Run = Callable[..., pytest.RunResult]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for all tests: what is tested is what becomes of the numbers."""
    return f"--injx-cache-dir={tmp_path_factory.mktemp('store')}"


@pytest.fixture
def gated(audited: Audited, pytester: pytest.Pytester, texts: list[str], store: str) -> Run:
    """Runs a suite on prompts whose name is the same in every run, with a baseline."""
    (pytester.path / "p.txt").write_text("\n".join(texts))

    def run(*flags: str, suite: str = GATE) -> pytest.RunResult:
        return audited(suite, "--injx-prompts=p.txt", BASELINE, store, *flags)

    return run


@pytest.fixture
def kept(pytester: pytest.Pytester) -> Callable[[], Path]:
    """The one file in the folder of baselines."""

    def kept() -> Path:
        (path,) = (pytester.path / "kept").iterdir()
        return path

    return kept


@pytest.fixture
def recorded(gated: Run, kept: Callable[[], Path]) -> Path:
    """A baseline of the tiny model."""
    result = gated(UPDATE)
    assert pytest.ExitCode.OK == result.ret, output(result)
    return kept()


def _edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    plain = json.loads(path.read_text())
    change(plain)
    path.write_text(json.dumps(plain, indent=1, sort_keys=True) + "\n")


def test_recorded_then_green(gated: Run, recorded: Path) -> None:
    """An update writes one file of the layers measured; the next run compares with it and passes."""
    before = recorded.read_text()
    assert {"layer01", "layer02", "norm"} == set(json.loads(before)["layers"])
    result = gated("--junitxml=j.xml")
    assert pytest.ExitCode.OK == result.ret, output(result)
    result.assert_outcomes(passed=3)
    assert "3 of 3 verdicts PASS" in output(result)
    assert before == recorded.read_text()
    found = cases(recorded.parent.parent / "j.xml")["test_baseline[norm]"]
    assert properties(found)["matches_baseline.norm"].endswith(" PASS")


def test_the_update_says_what_it_wrote(gated: Run, kept: Callable[[], Path]) -> None:
    """File and numbers the first time, what changed the next."""
    first = gated(UPDATE)
    assert f"baseline kept/{kept().name}: recorded " in said(first)
    assert kept().name.startswith("generic--")
    assert "numbers of 3 layers" in said(first)
    _edit(kept(), lambda plain: plain["layers"]["norm"].update(margin_q=1e-9))
    second = gated(UPDATE)
    assert pytest.ExitCode.OK == second.ret
    assert "norm: margin_q 1e-09 -> " in said(second)
    assert "nothing changed" in said(gated(UPDATE))


def test_a_run_of_some_tests_keeps_the_others_numbers(gated: Run, recorded: Path) -> None:
    """What was deselected stays as it was recorded, and is named."""
    _edit(recorded, lambda plain: plain["layers"]["norm"].update(margin_q=7.0))
    before = json.loads(recorded.read_text())["layers"]
    result = gated(UPDATE, "-k", "layer02")
    assert pytest.ExitCode.OK == result.ret, output(result)
    assert "not measured in this run: layer01, norm" in said(result)
    assert before == json.loads(recorded.read_text())["layers"]


def test_a_missing_baseline_is_red_and_writes_nothing(
    gated: Run, pytester: pytest.Pytester
) -> None:
    """With the command that makes one."""
    result = gated()
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    assert "FAIL matches_baseline layer01: no baseline is recorded" in output(result)
    assert "to make it: pytest " in output(result)
    assert UPDATE in output(result)
    assert not (pytester.path / "kept").exists()


def test_the_command_to_make_one_makes_it(gated: Run, pytester: pytest.Pytester) -> None:
    """As it is printed, for every test of the file."""
    printed = next(line for line in gated().outlines if "to make it: " in line)
    command = shlex.split(printed.partition("to make it: pytest ")[2])
    result = pytester.runpytest_inprocess(*command)
    assert pytest.ExitCode.OK == result.ret, output(result)
    (path,) = (pytester.path / "kept").iterdir()
    assert {"layer01", "layer02", "norm"} == set(json.loads(path.read_text())["layers"])
    assert pytest.ExitCode.OK == gated().ret


def test_a_damaged_number_is_red(gated: Run, recorded: Path) -> None:
    """The first line names layer, metric, was, is and what is allowed."""
    _edit(recorded, lambda plain: plain["layers"]["layer02"].update(margin_q=1e3))
    result = gated()
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    result.assert_outcomes(passed=2, failed=1)
    assert "FAIL matches_baseline layer02: margin_q was 1000, is" in said(result)
    assert "wants >= 990" in said(result)


def test_a_stale_baseline_is_green_and_said(gated: Run, recorded: Path) -> None:
    """In the summary, where a person looks."""
    _edit(recorded, lambda plain: plain["layers"]["layer02"].update(margin_q=1e-3))
    result = gated()
    assert pytest.ExitCode.OK == result.ret
    assert "stale baseline kept/" in said(result)
    assert "layer02 margin_q 0.001 -> " in said(result)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--injx-max-prompts=5"], "n 12, here 5"),
        (["--injx-dtype=float64"], "dtype float32, here float64"),
        (["--injx-prompt-metric=hamming"], "prompt_metric levenshtein, here hamming"),
        ([UPDATE, "-k", "nothing"], ""),
    ],
)
def test_another_n_dtype_or_metric_is_wrong_use(
    gated: Run, recorded: Path, flags: list[str], message: str
) -> None:
    """Exit status 4, both values named, nothing written."""
    before = recorded.read_text()
    result = gated(*flags)
    if message:
        assert pytest.ExitCode.USAGE_ERROR == result.ret
        assert message in said(result)
    else:
        assert pytest.ExitCode.TESTS_FAILED == result.ret
    assert "Traceback" not in output(result)
    assert before == recorded.read_text()


def test_a_damaged_file_is_wrong_use(gated: Run, recorded: Path) -> None:
    """One paragraph a test, no traceback."""
    recorded.write_text(recorded.read_text()[:-40])
    result = gated()
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert "it is damaged, cut short or no JSON" in said(result)
    assert "Traceback" not in output(result)


def test_without_a_baseline_named_it_is_wrong_use(audited: Audited) -> None:
    """The gate says which flag."""
    result = audited(GATE)
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert "no baseline is named: give --injx-baseline=DIR" in said(result)


def test_an_update_without_a_baseline_is_wrong_use(audited: Audited) -> None:
    """Before any test runs."""
    result = audited("def test_unit():\n    print('RAN')\n", UPDATE, "-s")
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert "--injx-update-baseline: no baseline is named" in said(result)
    assert "RAN" not in output(result)


@pytest.mark.parametrize(
    "suite",
    [
        GATE + "\ndef test_red(injx):\n    injx.assert_margin_above(1, 1e9)\n",
        GATE + "\ndef test_unit():\n    assert False\n",
        GATE + "\ndef test_wrong(injx):\n    injx.assert_margin_above(99, margin=1e-12)\n",
        GATE + "\nimport pytest\n\ndef test_stop():\n    pytest.exit('enough')\n",
    ],
    ids=["gate", "unit", "wrong use", "exit"],
)
def test_a_run_that_is_not_green_records_nothing(gated: Run, recorded: Path, suite: str) -> None:
    """Whatever made it red; it says why, and the old file stays."""
    _edit(recorded, lambda plain: plain["layers"]["norm"].update(margin_q=7.0))
    before = recorded.read_text()
    result = gated(UPDATE, suite=suite)
    assert pytest.ExitCode.OK != result.ret
    assert "nothing was written, as the run is not green (exit status " in said(result)
    assert before == recorded.read_text()


def test_an_update_that_nobody_asks_anything_of_is_red(
    gated: Run, pytester: pytest.Pytester
) -> None:
    """A run that recorded nothing must not look as if it had; JUnit sees it too."""
    suite = "def test_gate(injx):\n    injx.assert_no_collisions(1)\n"
    result = gated(UPDATE, "--junitxml=j.xml", suite=suite)
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    assert "FAILED injectivity::no baseline was recorded" in output(result)
    assert "no baseline was recorded" in cases(pytester.path / "j.xml")
    assert not (pytester.path / "kept").exists()


def test_collecting_records_nothing(gated: Run, pytester: pytest.Pytester) -> None:
    """No test ran."""
    result = gated(UPDATE, "--collect-only")
    assert pytest.ExitCode.OK == result.ret
    assert not (pytester.path / "kept").exists()


def test_a_folder_that_cannot_be_written_is_exit_status_4(
    gated: Run, pytester: pytest.Pytester
) -> None:
    """With the reason."""
    (pytester.path / "kept").write_text("a file, not a folder")
    result = gated(UPDATE)
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert "--injx-update-baseline: nothing was written: " in said(result)
    assert "a file, not a folder" == (pytester.path / "kept").read_text()


def test_the_cache_plugin_is_not_needed(gated: Run, recorded: Path) -> None:
    """Baselines are no cache: -p no:cacheprovider, and without a store between runs."""
    result = gated("-p", "no:cacheprovider", "--injx-no-cache")
    assert pytest.ExitCode.OK == result.ret, output(result)
    result.assert_outcomes(passed=3)
    assert recorded.exists()


def test_the_json_report_has_figures_and_no_text(
    gated: Run, recorded: Path, pytester: pytest.Pytester
) -> None:
    """Was and now by number; neither file says a word of a prompt."""
    gated("--injx-report=json:r.json")
    report = (pytester.path / "r.json").read_text()
    reason = json.loads(report)["verdicts"][0]["reasons"][0]
    assert reason["figures"]["margin_q.was"] == pytest.approx(
        reason["figures"]["margin_q.now"], 1e-5
    )
    for word in ("heliotrope", "quagmire"):
        assert word not in report + recorded.read_text()


def test_a_report_is_compared_with_the_baseline(
    gated: Run, recorded: Path, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    """``pytest-injectivity compare`` reads what runs write."""
    from pytest_injectivity.__main__ import main

    gated("--injx-report=json:r.json")
    capsys.readouterr()
    assert 0 == main(["compare", str(recorded), str(pytester.path / "r.json")])
    assert "of 3 layers compared: nothing is worse" in capsys.readouterr().out
    _edit(recorded, lambda plain: plain["layers"]["norm"].update(margin_q=7e7))
    assert 1 == main(["compare", str(recorded), str(pytester.path / "r.json")])
    assert "norm: margin_q 7e+07 -> " in capsys.readouterr().out


def _started(folder: Path, code: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """Pytest in a process of its own, after some code."""
    outer = ("PYTEST_XDIST", "PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "CI", "COLUMNS")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(outer)}
    run = f"import os, pathlib, pytest, sys\n{code}\nsys.exit(pytest.main(sys.argv[1:]))"
    return subprocess.run(  # noqa: S603 - pytest itself
        [sys.executable, "-c", run, "-p", "no:cacheprovider", "--injx-prompts=p.txt", *flags],
        cwd=folder,
        env={**kept, "COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("workers", [["-n", "2"], ["-n", "1", "--dist=loadscope"]], ids=" ".join)
def test_an_update_with_workers_is_refused(
    gated: Run, pytester: pytest.Pytester, workers: list[str]
) -> None:
    """Before a worker is started: each measures a part, and no part is a baseline."""
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    result = gated(UPDATE, *workers)
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert "--injx-update-baseline: workers of pytest-xdist measure a part each" in said(result)
    assert "passed" not in output(result)
    assert not (pytester.path / "kept").exists()


@pytest.mark.slow
def test_workers_compare(
    gated: Run, checkpoint: Callable[[str], Path], pytester: pytest.Pytester, store: str
) -> None:
    """A baseline that one process recorded (-n 0) holds for two."""
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    gated("--collect-only")  # writes the suite; a run in this process would measure small samples
    model = f"--injx-model={checkpoint('generic')}"
    alone = _started(pytester.path, "", "-n", "0", model, BASELINE, store, UPDATE)
    assert 0 == alone.returncode, alone.stdout
    together = _started(pytester.path, "", "-n", "2", model, BASELINE, store)
    assert 0 == together.returncode, together.stdout
    assert "3 of 3 verdicts PASS" in together.stdout


@pytest.mark.slow
def test_a_process_that_is_killed_while_it_writes_leaves_the_old_file(
    recorded: Path, checkpoint: Callable[[str], Path], pytester: pytest.Pytester, store: str
) -> None:
    """The file is whole: the new one appears at once or not at all."""
    _edit(recorded, lambda plain: plain["layers"].pop("norm"))
    before = recorded.read_text()
    dies = (
        "replace = pathlib.Path.replace\n"
        "def dies(here, there):\n"
        "    os._exit(9) if 'kept' in str(there) else replace(here, there)\n"
        "pathlib.Path.replace = dies"
    )
    model = f"--injx-model={checkpoint('generic')}"
    killed = _started(pytester.path, dies, model, BASELINE, store, UPDATE)
    assert 9 == killed.returncode, killed.stdout
    assert before == recorded.read_text()
