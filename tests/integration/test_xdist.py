"""What holds without workers holds with two. Each run starts processes, so tests share them."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_injectivity.audit.measurements.resolutions import Resolutions
from pytest_injectivity.states.resolution_sample import DEFAULT_SIZE
from tests.integration.support import Done, cases, properties, run_pytest
from tests.reports.pages import read

pytest.importorskip("xdist", reason="pytest-xdist is not installed")

REPORTS = ("json:report.json", "html:report.html")


def _run(folder: Path, suite: str, *flags: str) -> Done:
    reports = ("--junitxml=junit.xml", *(f"--injx-report={one}" for one in REPORTS))
    # tests/conftest.py sets both.
    alone = {"OMP_NUM_THREADS": None, "OMP_WAIT_POLICY": None}
    return run_pytest(folder, suite, "-n", "2", *reports, *flags, **alone)


def untimed(plain: object) -> object:
    """JSON without what tells how long something took."""
    if isinstance(plain, dict):
        return {name: untimed(one) for name, one in plain.items() if name != "seconds"}
    return [untimed(one) for one in plain] if isinstance(plain, list) else plain


SUITE = """
class TestOne:
    def test_pass(self, injx, injx_layer):
        injx.assert_no_collisions(injx_layer)

    def test_fail_1(self, injx):
        injx.assert_margin_above(1, 1e9)

class TestTwo:
    def test_fail_2(self, injx):
        injx.assert_margin_above(1, 1e8)

    def test_sipit(self, injx):
        injx.assert_sipit_recovers(1, prompts=2, tokens=4)
"""


@pytest.fixture(scope="module")
def asked(
    checkpoint: Callable[[str], Path],
    prompt_file: Callable[[list[str]], Path],
    texts: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, ...]:
    """Flags that name the tiny model, its prompts and a key of their hashes."""
    key = tmp_path_factory.mktemp("key") / "key"
    key.write_text("a key")
    return (
        f"--injx-model={checkpoint('generic')}",
        f"--injx-prompts={prompt_file(texts)}",
        f"--injx-hash-key-file={key}",
        "--injx-no-cache",
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, asked: tuple[str, ...]) -> Callable[..., Done]:
    """Runs a suite with two workers on the tiny model."""

    def run(suite: str, *flags: str) -> Done:
        return _run(tmp_path_factory.mktemp("xdist"), suite, *asked, *flags)

    return run


@pytest.fixture(scope="module")
def gates(run: Callable[..., Done]) -> Done:
    """Gates that pass and fail, a class on each worker; both meet the same closest pair."""
    return run(SUITE, "-v", "--dist=loadscope")


def test_verdicts_and_table_arrive_at_the_controller(gates: Done) -> None:
    """The summary is that of all workers, and there is one of it."""
    assert pytest.ExitCode.TESTS_FAILED == gates.status
    assert 1 == gates.text.count(" injectivity =")
    rows = re.findall(r"^(layer\d\d|norm) +[\d.]+ ", gates.text, re.MULTILINE)
    assert ["layer01", "layer02", "norm"] == rows
    assert "2 of 6 verdicts are not PASS" in gates.text
    assert "FAILED test_suite.py::TestOne::test_fail_1 - FAIL margin_above layer01: " in gates.text


def test_the_json_report_is_complete(gates: Done) -> None:
    """Layers and verdicts of both workers, in one file that the controller wrote."""
    report = json.loads((gates.folder / "report.json").read_text())
    assert report["complete"] is True
    assert {"layer01", "layer02", "norm"} == {layer["layer"] for layer in report["layers"]}
    assert 3 == len(report["layers"])
    assert 4 == sum(verdict["status"] == "PASS" for verdict in report["verdicts"])
    assert 2 == sum(verdict["status"] == "FAIL" for verdict in report["verdicts"])
    assert 12 == report["run"]["n"]


def test_the_page_has_what_workers_measured(gates: Done) -> None:
    """The verdict, the layers, the figures and the command to repeat a failure."""
    page = read((gates.folder / "report.html").read_text(encoding="utf-8"))
    titles = {one.text for kind in ("h2", "h3") for one in page.all(kind)}
    assert ["Red: 2 of 6 verdicts are not PASS"] == [one.text for one in page.all("h1")]
    assert "layer01 (margin_above)" in page.all("dl")[0].text
    assert "pytest test_suite.py::TestOne::test_fail_1 --injx-model=" in page.all("dl")[0].text
    assert {"Separation margin, 1 % quantile", "Verdicts by layer"} <= titles


def test_workers_do_not_change_the_report(
    gates: Done,
    asked: tuple[str, ...],
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same run without workers and with two gives equal JSON, apart from times and set-up."""
    # Workers measure their resolution on the sample of an audit, and so does this process here.
    monkeypatch.setitem(Resolutions.__init__.__kwdefaults__, "size", DEFAULT_SIZE)
    (pytester.path / "test_suite.py").write_text(SUITE)
    pytester.runpytest_inprocess(*asked, "--injx-report=json:report.json")
    folders = (pytester.path, gates.folder)
    alone, shared = (json.loads((one / "report.json").read_text()) for one in folders)
    for report in (alone, shared):
        # What a process does about its threads depends on how many there are.
        assert report.pop("said") is not None
        assert report.pop("origin")["date"].endswith("+00:00")
    assert 6 == len(alone["verdicts"])
    assert alone["verdicts"][-1]["reasons"][0]["seconds"] > 0
    assert untimed(alone) == untimed(shared)


def test_junit_has_the_values(gates: Done) -> None:
    """Properties travel from the workers."""
    found = cases(gates.folder / "junit.xml")
    assert 6 == len(found)
    assert "0 PASS" == properties(found["test_pass[norm]"])["no_collisions.norm"]
    assert properties(found["test_fail_1"])["margin_above.layer01"].endswith(" FAIL")


def test_both_workers_name_a_prompt_alike(gates: Done) -> None:
    """The key of the names is drawn once, by the controller."""
    workers = re.findall(r"\[(gw\d)\] .* FAILED test_suite", gates.text)
    assert ["gw0", "gw1"] == sorted(workers)
    pairs = re.findall(r"E +closest pair, .*", gates.text)
    assert 2 == len(pairs)
    assert 1 == len(set(pairs))


def test_the_commands_to_reproduce_are_the_same_as_without_workers(gates: Done) -> None:
    """They name the test as seen from where pytest was started."""
    assert "reproduce: pytest test_suite.py::TestOne::test_fail_1 --injx-model=" in gates.text


def test_no_text_of_a_prompt_is_written(gates: Done, texts: list[str]) -> None:
    """Not in the output, JUnit or JSON, whichever process wrote it."""
    files = [(gates.folder / name).read_text() for name in ("junit.xml", "report.json")]
    words = {word for text in texts for word in text.split() if len(word) > 4}
    assert words
    assert all(files)
    for word in words:
        assert word not in gates.text + "".join(files)


def test_threads_are_divided_and_it_is_said(gates: Done) -> None:
    """Workers share the cores, and the summary says so, once; how they wait is not said."""
    divided = int((os.cpu_count() or 1) > 1)
    assert divided == gates.text.count(" workers compute with ")
    assert "OMP_WAIT_POLICY" not in gates.text


@pytest.fixture(scope="module")
def wrong(run: Callable[..., Done]) -> Done:
    """A worker meets a bound that makes no sense."""
    return run("def test_wrong(injx):\n    injx.assert_margin_above(1, -1.0)\n")


@pytest.mark.slow
def test_wrong_use_is_exit_status_4(wrong: Done) -> None:
    """With one paragraph and no traceback, as without workers."""
    assert pytest.ExitCode.USAGE_ERROR == wrong.status
    assert "OptionError: margin=-1.0 is not a bound" in wrong.text
    assert "Traceback" not in wrong.text
    assert "pytest_injectivity/" not in wrong.text
    assert "nothing was compared" not in wrong.text


@pytest.mark.slow
def test_wrong_use_while_collecting_is_exit_status_4(run: Callable[..., Done]) -> None:
    """Each worker collects; the run ends with the paragraph of one."""
    done = run(
        "def test_each(injx, injx_layer):\n    injx.assert_margin_above(injx_layer, margin=1e-12)\n",
        "--injx-layers=9",
    )
    assert pytest.ExitCode.USAGE_ERROR == done.status
    assert "LayerError: layer 9 is out of range" in done.text
    assert "pytest_injectivity/" not in done.text
    assert "nothing was compared" not in done.text


def test_a_flag_that_is_not_accepted_is_exit_status_4(run: Callable[..., Done]) -> None:
    """Found before a worker is started."""
    done = run("def test_unit():\n    pass\n", "--injx-seed=-1")
    assert pytest.ExitCode.USAGE_ERROR == done.status
    assert "ERROR: --injx-seed: -1 is not accepted" in done.text


@pytest.mark.slow
def test_a_lost_worker_of_another_suite_is_not_ours(tmp_path: Path) -> None:
    """Where no audit was asked for, xdist's own failure is all there is."""
    suite = "import os\n\ndef test_dies():\n    os._exit(1)\n\ndef test_unit():\n    pass\n"
    done = _run(tmp_path, suite)
    assert pytest.ExitCode.TESTS_FAILED == done.status
    assert "injectivity::" not in done.text
