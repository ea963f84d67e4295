from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.support import output

Run = Callable[..., pytest.RunResult]

SUITE = """
import pathlib

import pytest

MARGIN = 0.02


@pytest.fixture(autouse=True)
def ran():
    pathlib.Path("ran").write_text("a fixture")


@pytest.fixture
def gate(injx):
    return injx


def test_collisions(injx, injx_layer):
    pathlib.Path("ran").write_text("a test")
    injx.assert_no_collisions(injx_layer, eps="1e-5 rel")


def test_margin(assert_margin_above):
    assert_margin_above("all", MARGIN)


def test_recovered(gate):
    gate.assert_sipit_recovers([1, gate.n_layers], prompts=2, tokens=3, certify=4)


def test_of_ones_own(injx_prompts):
    assert len(injx_prompts) > 1


def test_unit():
    pathlib.Path("ran").write_text("a unit test")
"""


@pytest.fixture
def planned(audited: Run) -> pytest.RunResult:
    """The plan of a suite."""
    return audited(SUITE, "--injx-plan")


def test_no_test_is_run(planned: pytest.RunResult, pytester: pytest.Pytester) -> None:
    """Neither a test nor a fixture, and the status is 0."""
    assert pytest.ExitCode.OK == planned.ret
    assert not (pytester.path / "ran").exists()
    assert "no tests ran" in output(planned)


def test_the_phases_are_those_of_the_collected_tests(planned: pytest.RunResult) -> None:
    """States, searches and inversions, by name, each once."""
    rows = [line.split("  ")[0] for line in output(planned).splitlines()]
    for phase in (
        "loading the model",
        "hidden states",
        "resolution",
        "nearest neighbors",
        "co-Lipschitz constants",
        "SipIt layer01",
        "SipIt layer02",
    ):
        assert 1 == rows.count(phase), phase
    assert "2 prompts of 3 tokens" in output(planned)


def test_a_report_is_not_written_and_that_is_said(audited: Run, pytester: pytest.Pytester) -> None:
    """Nothing was measured that it could hold."""
    result = audited(SUITE, "--injx-plan", "--injx-report=json:found.json")
    assert "not written, because nothing was measured: found.json" in output(result)
    assert not (pytester.path / "found.json").exists()


@pytest.fixture
def configured(pytester: pytest.Pytester, checkpoint: Callable[[str], Path]) -> Path:
    """A checkpoint that has a configuration and a tokenizer, and no weights."""
    folder = pytester.mkdir("configured")
    for file in checkpoint("generic").iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_a_configuration_is_enough_for_a_plan_of_a_stated_machine(
    audited: Run, configured: Path
) -> None:
    """The phases are those of a plan with weights; the rates are said to be assumed."""
    done = audited(SUITE, "--injx-plan", "--injx-tflops=0.5", f"--injx-model={configured}")
    assert pytest.ExitCode.OK == done.ret
    text = output(done)
    assert "rates    assumed: 0.5 TFLOP/s" in text
    assert "memory   weights " in text
    assert "some in a float64 copy" in text


def test_a_plan_of_blocks_on_disk_counts_what_is_read(audited: Run, configured: Path) -> None:
    """No float64 copy is planned."""
    flags = ("--injx-plan", "--injx-tflops=0.5", "--injx-load=stream")
    done = audited(SUITE, *flags, f"--injx-model={configured}")
    assert "TFLOP/s, weights read at 1 GB a second" in output(done)
    assert "float64" not in output(done)


def test_without_stated_rates_a_plan_needs_the_weights(audited: Run, configured: Path) -> None:
    """It times the model."""
    done = audited(SUITE, "--injx-plan", f"--injx-model={configured}")
    assert pytest.ExitCode.USAGE_ERROR == done.ret
    assert "has no weights" in output(done)


def test_what_is_not_foreseen_is_named(planned: pytest.RunResult) -> None:
    """A test that computes by itself."""
    text = output(planned)
    assert (
        "not foreseen: what a test computes with injx_prompts (test_suite.py::test_of_ones_own)"
        in text
    )
    assert "test_unit" not in text


def test_a_layer_that_only_the_run_knows_is_the_default(audited: Run) -> None:
    """A list of layers with one that is not known is planned as if none were named, and said so."""
    suite = "import os\n\ndef test_a(injx):\n    injx.assert_no_collisions([1, len(os.sep)])\n"
    done = audited(suite, "--injx-plan")
    assert pytest.ExitCode.OK == done.ret
    assert "not foreseen: layer of no_collisions: the defaults are assumed" in output(done)


def test_selected_tests_alone_are_planned(audited: Run) -> None:
    """``-k`` chooses as it does for a run."""
    text = output(audited(SUITE, "--injx-plan", "-k", "margin"))
    assert "SipIt" not in text
    assert "hidden states" in text


def test_a_plan_leaves_the_store_alone(
    audited: Run, tmp_path: Path, pytester: pytest.Pytester
) -> None:
    """Not one file is written."""
    store = tmp_path / "store"
    done = audited(SUITE, "--injx-plan", f"--injx-cache-dir={store}")
    assert pytest.ExitCode.OK == done.ret
    assert not store.exists()
    assert pytester.path.exists()


def test_a_layer_that_is_not_there_is_wrong_use(audited: Run) -> None:
    """As it would be in the run."""
    suite = "def test_a(injx):\n    injx.assert_no_collisions(9)\n"
    done = audited(suite, "--injx-plan")
    assert pytest.ExitCode.USAGE_ERROR == done.ret
    assert "layer 9 is out of range" in output(done)


def test_a_plan_of_workers_is_refused(audited: Run) -> None:
    """Each has a part of the tests."""
    done = audited(SUITE, "--injx-plan", "-n", "2")
    assert pytest.ExitCode.USAGE_ERROR == done.ret
    assert "--injx-plan" in output(done)


def test_a_plan_is_switched_off_by_a_flag(audited: Run, pytester: pytest.Pytester) -> None:
    """What an ini switches on; the last of several flags wins."""
    pytester.makeini("[pytest]\ninjx_plan = yes\n")
    suite = "def test_a(injx):\n    assert not injx.config.plan\n"
    assert "1 passed" in output(audited(suite, "--injx-no-plan"))
    assert "injectivity: plan" in output(audited(suite, "--injx-no-plan", "--injx-plan"))
    assert "injectivity: plan" in output(audited(suite))
