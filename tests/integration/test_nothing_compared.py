from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.support import output

UNIT = "def test_unit():\n    pass\n"
SKIPPED = "import pytest\n\ndef test_gate(injx):\n    pytest.skip('not today')\n"
EMPTY_GATE = "def test_gate(injx):\n    assert injx is not None\n"
GATE = "def test_gate(injx):\n    injx.assert_no_collisions('norm')\n"


@pytest.fixture
def run(
    pytester: pytest.Pytester, checkpoint: Callable[[str], Path], texts: list[str]
) -> Callable[..., pytest.RunResult]:
    """Runs suites that a project with an ini may have, with a model named here or there."""
    model = checkpoint("generic")
    (pytester.path / "p.txt").write_text("\n".join(texts))

    def run(suite: str, *flags: str, ini: str = "") -> pytest.RunResult:
        pytester.makeini(f"[pytest]\ninjx_prompts = p.txt\n{ini.replace('MODEL', str(model))}\n")
        pytester.makepyfile(suite)
        return pytester.runpytest_inprocess(*(f.replace("MODEL", str(model)) for f in flags))

    return run


@pytest.mark.parametrize(
    "suite", [UNIT, SKIPPED, EMPTY_GATE, ""], ids=["unit", "skip", "idle", "0"]
)
@pytest.mark.parametrize("flag", ["--injx-model=MODEL", "--injx-require"])
def test_a_run_that_was_to_compare_and_did_not_is_red(
    run: Callable[..., pytest.RunResult], suite: str, flag: str
) -> None:
    """A model on the command line, or --injx-require, and nothing measured: exit status 1."""
    result = run(suite, flag)
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    text = output(result)
    assert "FAILED injectivity::nothing was compared - nothing was compared: " in text
    assert "no test measured or judged anything" in text
    assert " 1 failed" in text


@pytest.mark.parametrize("deselect", [("-k", "unit"), ("-m", "unit"), ("test_run.py::test_unit",)])
def test_deselected_gates_do_not_count(
    run: Callable[..., pytest.RunResult], deselect: tuple[str, ...]
) -> None:
    """With the model on the command line it does not matter why no gate ran."""
    result = run(
        f"import pytest\n\n@pytest.mark.unit\n{UNIT}\n\n{GATE}",
        *(
            "--injx-model=MODEL",
            *(part.replace("test_run", "test_deselected_gates_do_not_count") for part in deselect),
        ),
        ini="markers = unit",
    )
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    result.assert_outcomes(passed=1, failed=1, deselected=0 if len(deselect) == 1 else 1)


def test_the_ini_twin_of_require_counts(run: Callable[..., pytest.RunResult]) -> None:
    """A project may want no vacuous run at all."""
    assert pytest.ExitCode.TESTS_FAILED == run(UNIT, ini="injx_require = true").ret
    assert pytest.ExitCode.OK == run(UNIT, ini="injx_require = false").ret


@pytest.mark.parametrize("suite", [UNIT, SKIPPED, f"{UNIT}\n\n{GATE}"], ids=["unit", "skip", "k"])
def test_an_ini_that_names_a_model_asks_for_nothing(
    run: Callable[..., pytest.RunResult], suite: str
) -> None:
    """Somebody who runs -k unit in a project with a model in its ini sees nothing of this plugin."""
    result = run(suite, *(["-k", "unit"] if "unit" in suite else []), ini="injx_model = MODEL")
    assert pytest.ExitCode.OK == result.ret
    assert "nothing was compared" not in output(result)


def test_addopts_of_an_ini_ask_for_nothing_either(run: Callable[..., pytest.RunResult]) -> None:
    """A flag in an ini's addopts is an ini that names a model."""
    result = run(UNIT, ini="addopts = --injx-model=MODEL")
    assert pytest.ExitCode.OK == result.ret
    assert "nothing was compared" not in output(result)


def test_a_suite_without_the_plugins_flags_asks_for_nothing(
    run: Callable[..., pytest.RunResult],
) -> None:
    """Pytest's own exit statuses stay as they are."""
    assert pytest.ExitCode.OK == run(UNIT).ret
    assert pytest.ExitCode.OK == run(SKIPPED).ret
    assert pytest.ExitCode.NO_TESTS_COLLECTED == run("").ret


@pytest.mark.parametrize(
    "flags",
    [
        *(["--collect-only"], ["--co", "-q"], ["--fixtures"], ["--fixtures-per-test"]),
        *(["--setup-plan"], ["--markers"], ["--cache-show"], ["--help"]),
    ],
)
def test_looking_is_not_running(run: Callable[..., pytest.RunResult], flags: list[str]) -> None:
    """What only lists compares nothing and does not fail for it."""
    for suite in (UNIT, GATE):
        result = run(suite, "--injx-model=MODEL", "--injx-require", *flags)
        assert pytest.ExitCode.OK == result.ret
        assert "an audit was asked for" not in output(result)


@pytest.mark.parametrize(
    "check",
    [
        "injx.check_no_collisions('norm')",
        "injx.assert_margin_above('norm', 1e-12)",
        "injx.check_sipit_recovers('norm', prompts=1, tokens=2)",
        "injx.geometry('norm').margin()",
    ],
)
def test_a_check_or_a_measurement_is_a_comparison(
    run: Callable[..., pytest.RunResult], check: str
) -> None:
    """A verdict counts, and so does geometry that a test looks at by itself."""
    result = run(f"def test_gate(injx):\n    {check}\n", "--injx-model=MODEL", "--injx-require")
    result.assert_outcomes(passed=1)
    assert pytest.ExitCode.OK == result.ret


def test_a_failing_gate_is_one_failure(run: Callable[..., pytest.RunResult]) -> None:
    """It compared, so nothing is added to it."""
    result = run(GATE.replace("'norm'", "'norm', eps=1e9"), "--injx-model=MODEL")
    result.assert_outcomes(failed=1)
    assert pytest.ExitCode.TESTS_FAILED == result.ret


def test_a_broken_test_is_not_wrong_use(run: Callable[..., pytest.RunResult]) -> None:
    """A NameError before the gate is a failed test, and nothing was compared beside it."""
    result = run("def test_gate(injx):\n    undefined\n", "--injx-model=MODEL")
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    result.assert_outcomes(failed=2)
