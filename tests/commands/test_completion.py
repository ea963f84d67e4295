"""``pytest-injectivity completion``."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_injectivity.__main__ import main
from tests.commands.shells import arguments_typed

Printed = pytest.CaptureFixture[str]

COMMANDS = ["audit", "calibrate", "compare", "completion", "explain", "history", "init"]
COMMANDS += ["purge", "suites"]
TYPED = {
    "expl": "explain",
    "completion fi": "completion fish",
    "audit my-model --show": "audit my-model --show-prompts",
    "audit my-model --prompts quest": "audit my-model --prompts questions.txt",
}


@pytest.fixture
def script(request: pytest.FixtureRequest, capsys: Printed) -> str:
    """The script of a shell."""
    assert 0 == main(["completion", request.param])
    return capsys.readouterr().out


def completed(script: str, *words: str) -> list[str]:
    """What bash offers for the last of the words."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    given = " ".join(f"'{word}'" for word in ("pytest-injectivity", *words))
    code = f"{script}\nCOMP_WORDS=({given}); COMP_CWORD={len(words)}\n_pytest_injectivity\n"
    code += "printf '%s\\n' \"${COMPREPLY[@]}\""
    done = subprocess.run([bash, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - this package's own script
    return sorted(done.stdout.split())


@pytest.mark.parametrize("script", ["bash"], indirect=True)
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ([""], COMMANDS),
        (["co"], ["compare", "completion"]),
        (["completion", ""], ["bash", "fish", "zsh"]),
        (["audit", "my-model", "--ref"], ["--reference", "--reference-evaluation"]),
        (["audit", ""], []),  # a file: the shell's own
        (["compare", "--t"], ["--tolerance"]),
        (["nothing", "--x"], []),
    ],
)
def test_bash_completes(script: str, words: list[str], offered: list[str]) -> None:
    """Commands, their options, and arguments that are one of a few words."""
    assert offered == completed(script, *words)


@pytest.mark.parametrize("script", ["zsh"], indirect=True)
def test_zsh_takes_the_script_of_bash(script: str) -> None:
    """By its own bashcompinit."""
    first, rest = script.split("\n", 1)
    assert "autoload -U +X bashcompinit && bashcompinit" == first
    assert COMMANDS == completed(rest, "")


@pytest.mark.parametrize("script", ["fish"], indirect=True)
def test_fish_has_every_command_and_option(script: str) -> None:
    """Each with what it is for; a quote in it ends nothing."""
    lines = script.splitlines()
    commands = [line.split(" -a ")[1].split()[0] for line in lines if "use_subcommand" in line]
    assert COMMANDS == sorted(commands)
    start = "complete -c pytest-injectivity -n '__fish_seen_subcommand_from audit'"
    assert (
        f"{start} -l reference -r -d 'the full-precision parent that the model is held against'"
        in (lines)
    )
    assert all(0 == line.replace("\\'", "").count("'") % 2 for line in lines)


@pytest.mark.parametrize("script", ["bash", "zsh", "fish"], indirect=True)
@pytest.mark.parametrize("typed", TYPED)
def test_a_shell_completes(
    script: str, typed: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A real one, in a terminal: a command, an argument, an option, a file."""
    (tmp_path / "questions.txt").touch()
    shell = request.node.callspec.params["script"]
    assert TYPED[typed] == arguments_typed(shell, script, typed, tmp_path)


def test_another_shell_is_wrong_use(capsys: Printed) -> None:
    """The error names those that there are."""
    with pytest.raises(SystemExit) as caught:
        main(["completion", "csh"])
    assert 4 == caught.value.code
    assert "fish" in capsys.readouterr().err


def test_a_reader_may_have_enough() -> None:
    """Such as head: no traceback, and no complaint at the end."""
    code = (
        "import os, sys\nfrom pytest_injectivity.__main__ import main\n"
        "reading, writing = os.pipe()\nos.close(reading)\nos.dup2(writing, 1)\n"
        "sys.exit(main(['completion', 'fish']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603 - python itself
    assert (0, "") == (done.returncode, done.stderr)
