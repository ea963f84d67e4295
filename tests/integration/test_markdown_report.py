from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.integration.conftest import SECRETS, Run
from tests.integration.support import GATE, PROMPTS, output, said, table_rows


def _text(pytester: pytest.Pytester) -> str:
    return (pytester.path / "s.md").read_text(encoding="utf-8")


def test_the_summary_of_a_red_run(audited: Run, pytester: pytest.Pytester) -> None:
    """Verdict and counts, the failing layers with what would have passed, the terminal's numbers."""
    result = audited(GATE, "--injx-report=markdown:s.md")
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    text = _text(pytester)
    assert text.startswith(
        "## ❌ Injectivity audit red: 1 of 4 verdicts is not PASS\n\n- 1 gate failed\n"
    )
    failing = [line for line in text.split("\n") if line.startswith("| margin_above | ")]
    assert ["layer02", "norm"] == [line.split(" | ")[1] for line in failing]
    assert all("wants &#62;= 1e+09 | a bound of at most " in line for line in failing)
    assert "gpt2, 2 layers, d 16, vocabulary 256, float32 on cpu" in text
    for layer, cells in table_rows(result).items():
        (row,) = [line for line in text.split("\n") if line.startswith(f"| {layer} | ")]
        shown = row.replace("<b>", "").replace("</b>", "").strip("| ").split(" | ")
        assert [layer, *cells] == shown
    command = next(line for line in text.split("\n") if line.startswith("pytest "))
    assert command.startswith("pytest test_suite.py::test_margin --injx-model=")


def test_the_summary_of_a_green_run(audited: Run, pytester: pytest.Pytester) -> None:
    """The headline, no table of failures, and the command that repeats the run."""
    gate = GATE.partition("def test_margin")[0]
    result = audited(gate, "--injx-report=markdown:s.md", "test_suite.py", "-k", "collisions")
    assert pytest.ExitCode.OK == result.ret
    text = _text(pytester)
    assert text.startswith("## ✅ Injectivity audit green: 3 of 3 verdicts PASS\n")
    assert "Not passed" not in text
    command = next(line for line in text.split("\n") if line.startswith("pytest "))
    assert command.startswith("pytest test_suite.py -k collisions --injx-model=")
    again = pytester.runpytest_inprocess(*command.split()[1:])
    again.assert_outcomes(passed=3)


def test_rounded_activations_have_their_table(audited: Run, pytester: pytest.Pytester) -> None:
    """Whatever tables the terminal has of the layers, the summary has."""
    audited(
        "def test_bits(injx):\n    injx.check_no_collisions('all')\n"
        "    injx.check_no_collisions('all', bits=2)\n",
        "--injx-report=markdown:s.md",
    )
    assert "### Activations rounded: colliding pairs" in _text(pytester)
    assert "2 bits" in _text(pytester).partition("### Activations rounded")[2]


def test_a_gate_that_fails_as_expected_leaves_the_summary_green(
    audited: Run, pytester: pytest.Pytester
) -> None:
    """The colour is that of the run."""
    result = audited(
        "import pytest\n\n@pytest.mark.xfail\ndef test_gate(injx):\n"
        "    injx.assert_margin_above('norm', 1e9)\n",
        "--injx-report=markdown:s.md",
    )
    assert pytest.ExitCode.OK == result.ret
    assert _text(pytester).startswith("## ✅ Injectivity audit green: 1 of 1 verdict is not PASS")


def test_another_tests_failure_makes_the_summary_red(
    audited: Run, pytester: pytest.Pytester
) -> None:
    """And it says that the gates are not at fault."""
    audited(
        f"{GATE.partition('def test_margin')[0]}\ndef test_unit():\n    assert False\n",
        "--injx-report=markdown:s.md",
    )
    text = _text(pytester)
    assert text.startswith(
        "## ❌ Injectivity audit red: 3 of 3 verdicts PASS\n\n- 1 other test failed\n"
    )


@pytest.mark.parametrize(
    ("suite", "flags", "status", "why"),
    [
        ("def test_unit():\n    pass\n", (), 1, "nothing was compared: an audit was asked for"),
        (
            "def test_g(injx):\n    injx.assert_margin_above(9, margin=1e-12)\n",
            (),
            4,
            "LayerError: layer 9",
        ),
        ("import nothing_of_that_name\n", (), 2, "tests could not be collected"),
        (GATE, ("--maxfail=1", "-k", "margin"), 1, "1 gate failed"),
    ],
)
def test_every_red_run_says_why(  # noqa: PLR0917 - parameters and fixtures
    audited: Run,
    pytester: pytest.Pytester,
    suite: str,
    flags: Sequence[str],
    status: int,
    why: str,
) -> None:
    """Whatever made it red stands under the headline."""
    result = audited(suite, "--injx-report=markdown:s.md", *flags)
    assert status == result.ret
    text = _text(pytester)
    assert text.startswith("## ❌ Injectivity audit red: ")
    assert why in text.replace("&#95;", "_")


def test_the_steps_summary_is_added_to(
    audited: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two audits in one step stand one below the other; another file is written anew."""
    step = pytester.path / "step"
    step.write_text("# theirs\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(step))
    for _ in range(2):
        audited(GATE, f"--injx-report=markdown:{step}", "--injx-report=markdown:s.md")
    text = step.read_text(encoding="utf-8")
    assert text.startswith("# theirs\n\n## ❌")
    assert 2 == text.count("Injectivity audit")
    assert 1 == _text(pytester).count("Injectivity audit")


def test_a_full_step_summary_is_exit_status_4(
    audited: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report that was asked for and is not there is never silent."""
    step = pytester.path / "step"
    step.write_text("x" * 1024 * 1024)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(step))
    result = audited(GATE.partition("def test_margin")[0], f"--injx-report=markdown:{step}")
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert "was not written: " in said(result)
    assert 1024 * 1024 == step.stat().st_size


def test_no_prompt_is_in_it(audited: Run, pytester: pytest.Pytester) -> None:
    """Neither a word nor its token ids, whatever failed."""
    audited(
        "def test_a(injx):\n    injx.assert_no_collisions('all')\n"
        "def test_b(injx):\n    injx.assert_margin_above('all', 1e9)\n"
        "def test_c(injx):\n    injx.assert_sipit_recovers('norm', prompts=2, tokens=14)\n",
        *("--injx-report=markdown:s.md", "--injx-report=annotations:a.txt"),
        model="planted",
        prompts=PROMPTS,
    )
    text = _text(pytester) + (pytester.path / "a.txt").read_text()
    assert "❌ Injectivity audit red: 3 of 3 verdicts are not PASS" in text
    for word in SECRETS:
        assert word not in text
        assert ", ".join(str(byte) for byte in word.encode()[:4]) not in text


def test_a_models_name_is_a_text(
    pytester: pytest.Pytester, checkpoint: Callable[[str], Path], texts: list[str]
) -> None:
    """A folder may be called anything; the summary shows it and does not obey it."""
    name = "a|b`c`<img src=x>\n\n# head ##[error]x"
    (pytester.path / name).symlink_to(checkpoint("generic"), target_is_directory=True)
    (pytester.path / "p.txt").write_text("\n".join(texts))
    pytester.makepyfile(test_suite=GATE)
    result = pytester.runpytest_inprocess(
        f"--injx-model={name}", "--injx-prompts=p.txt", "--injx-report=markdown:s.md"
    )
    text = _text(pytester)
    assert "| model | a&#124;b&#96;c&#96;&#60;img src=x&#62;&#92;n&#92;n&#35; head " in text
    assert "<img" not in text.partition("```")[0]
    assert "##[" not in output(result).partition(" injectivity =")[2]
