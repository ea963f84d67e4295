import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import Run
from tests.integration.support import output, reproduce_lines

FAILING = "def test_gate(injx, injx_layer):\n    injx.assert_margin_above(injx_layer, 1e9)\n"


def _again(pytester: pytest.Pytester, command: str) -> pytest.RunResult:
    program, *arguments = shlex.split(command)
    assert "pytest" == program
    return pytester.runpytest_inprocess(*arguments)


def _verdict(result: pytest.RunResult, test: str) -> str:
    """The verdict's lines, with the random names of prompts left out."""
    block = output(result).partition(f"GateFailure: FAIL {test}")[2].partition("GateFailure\n")[0]
    names = [word for word in block.split() if not word.startswith("(")]
    return " ".join(names).partition("reproduce:")[0]


def test_the_command_reproduces_the_failure(audited: Run, pytester: pytest.Pytester) -> None:
    """Run as it is printed, each layer's command fails in that test alone, with equal numbers."""
    first = audited(FAILING, "--injx-length=9", "--injx-max-prompts=7", "--injx-seed=3")
    commands = reproduce_lines(first)
    assert 3 == len(commands)
    for layer, command in zip(("layer01", "layer02", "norm"), commands, strict=True):
        again = _again(pytester, command)
        again.assert_outcomes(failed=1)
        for name in (f"margin_above {layer}:",):
            assert _verdict(first, name)
            assert _verdict(first, name) == _verdict(again, name)


def test_every_flag_that_matters_is_in_the_command(audited: Run, pytester: pytest.Pytester) -> None:
    """The config of the repeated run equals that of the first, report and key apart."""
    suite = """
        from dataclasses import replace
        def test_gate(injx):
            print("CONFIG", replace(injx.config, report=(), hash_key=None, require=False))
            injx.assert_margin_above("norm", 1e9)
    """
    flags = [
        *(
            "--injx-max-prompts=6",
            "--injx-length=8",
            "--injx-overlong=drop",
            "--injx-layers=norm,1",
        ),
        *(
            "--injx-special-tokens=no",
            "--injx-prompt-metric=hamming/length",
            "--injx-dtype=float64",
        ),
        *(
            "--injx-device=cpu",
            "--injx-batch-tokens=128",
            "--injx-seed=5",
        ),
        *("--injx-prompt-field=text", "--injx-report=json:r.json", "--injx-require"),
    ]
    first = audited(suite, *flags)
    (command,) = reproduce_lines(first)
    assert "secret" not in output(first)
    again = _again(pytester, command)
    again.assert_outcomes(failed=1)
    configs = [
        [line for line in result.outlines if line.startswith("CONFIG ")]
        for result in (first, again)
    ]
    assert configs[0]
    assert configs[0] == configs[1]


def test_what_an_ini_says_is_in_the_command(
    pytester: pytest.Pytester, checkpoint: Callable[[str], Path]
) -> None:
    """The command names what the ini named, so that it can be run elsewhere."""
    pytester.makeini(f"[pytest]\ninjx_model = {checkpoint('generic')}\ninjx_layers = 2\n")
    (pytester.path / "p.txt").write_text("one\ntwo\nthree\n")
    pytester.makepyfile(test_ini=FAILING)
    result = pytester.runpytest_inprocess("--injx-prompts=p.txt")
    (command,) = reproduce_lines(result)
    assert (
        f"pytest 'test_ini.py::test_gate[layer02]' --injx-model={checkpoint('generic')}"
        " --injx-prompts=p.txt --injx-layers=2"
    ) == command


def test_it_works_from_a_folder_below_the_root(
    pytester: pytest.Pytester, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test and paths are named as seen from where pytest was started."""
    pytester.makeini("[pytest]\n")
    folder = pytester.mkdir("sub dir")
    (folder / "test_below.py").write_text(FAILING)
    (folder / "p.txt").write_text("one\ntwo\nthree\n")
    (folder / "a model").symlink_to(tiny, target_is_directory=True)
    monkeypatch.chdir(folder)
    flags = ["--injx-model=a model", "--injx-prompts=p.txt", "--injx-layers=1"]
    (command,) = reproduce_lines(pytester.runpytest_inprocess(*flags))
    again = _again(pytester, command)
    again.assert_outcomes(failed=1)
    assert [command] == reproduce_lines(again)


def test_a_shell_reads_odd_test_names_as_they_are(audited: Run, pytester: pytest.Pytester) -> None:
    """Quotes, spaces and dollars in a test's id are quoted."""
    result = audited("""
        import pytest

        @pytest.mark.parametrize("name", ["it's $HOME; or `not`"])
        def test_gate(injx, name):
            injx.assert_margin_above(1, 1e9)
    """)
    (command,) = reproduce_lines(result)
    again = _again(pytester, command)
    again.assert_outcomes(failed=1)


def test_a_script_is_told_the_options(
    checkpoint: Callable[[str], Path], prompt_file: Callable[[list[str]], Path], texts: list[str]
) -> None:
    """Without pytest there is no test to name; the flags are those of the config."""
    from pytest_injectivity import Audit, AuditConfig

    model, prompts = checkpoint("generic"), prompt_file(texts)
    verdict = Audit(AuditConfig(model=str(model), prompts=str(prompts))).check_margin_above(
        1, margin=1e-12
    )
    assert f"pytest --injx-model={model} --injx-prompts={prompts}" == verdict.reproduce
