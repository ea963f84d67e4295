"""The GitHub action: its steps are run as the runner would, by hand."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.integration.support import cases
from tests.reports.runner import obeyed

ROOT = Path(__file__).parent.parent.parent
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
SCRIPT = (ROOT / "scripts" / "ci_audit.sh").read_text(encoding="utf-8")
SUITE = """
def test_gate(injx):
    injx.assert_margin_above("norm", 1e9)
"""
UNIT = """
def test_unit():
    print("::set-output name=verdict::green")
"""
# Were a text to become a part of a command, one of these would leave a file.
EVIL = '\'; touch pwned; $(touch pwned) `touch pwned` "$(touch pwned)" & touch pwned # \\'
# Answers as Python does, but for a module: that is written down, not run.
RECORDER = """\
#!/bin/sh
if [ "$1" = -c ]; then exec {python} "$@"; fi
printf '%s\\0' "$@" >> {log}; printf '\\n' >> {log}
"""


class Done(NamedTuple):
    """A step that is over: its exit status, what it printed, and what it said to the runner."""

    status: int
    text: str
    outputs: dict[str, str]
    summary: str


Step = Callable[..., Done]


@pytest.fixture
def step(tmp_path: Path) -> Step:
    """Runs a step of the action in a folder, with inputs, as the runner would."""

    def run(name: str, python: str = sys.executable, **inputs: str) -> Done:
        (chosen,) = [one for one in STEPS if one["name"] == name]
        outer = ("GITHUB_", "INJX_", "PYTEST_", "CI", "TORCH_INDEX", "PIP_")
        kept = {key: text for key, text in os.environ.items() if not key.startswith(outer)}
        given = {key: _evaluated(text, inputs) for key, text in chosen.get("env", {}).items()}
        files = {"GITHUB_OUTPUT": tmp_path / "output", "GITHUB_STEP_SUMMARY": tmp_path / "step.md"}
        runner = {"GITHUB_ACTIONS": "true", "GITHUB_ACTION_PATH": str(ROOT), "PYTHON": python}
        runner |= {"GITHUB_WORKSPACE": str(tmp_path)} | {key: str(to) for key, to in files.items()}
        done = subprocess.run(  # noqa: S603 - this project's own steps
            ["/bin/bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", chosen["run"]],
            cwd=tmp_path,
            env=kept | given | runner,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        said, summary = (one.read_text() if one.exists() else "" for one in files.values())
        outputs = dict(line.split("=", 1) for line in said.splitlines())
        return Done(done.returncode, done.stdout, outputs, summary)

    return run


@pytest.fixture
def recorder(tmp_path: Path) -> Callable[[], list[list[str]]]:
    """A Python that writes down which modules it was to run; calling this reads them."""
    program, log = tmp_path / "bin" / "python", tmp_path / "log"
    program.parent.mkdir()
    program.write_text(
        RECORDER.format(python=shlex.quote(sys.executable), log=shlex.quote(str(log)))
    )
    program.chmod(0o755)
    return lambda: [line.split("\0")[:-1] for line in log.read_text().split("\n") if line]


def _evaluated(text: str, inputs: dict[str, str]) -> str:
    name = re.fullmatch(r"\$\{\{ inputs\.([a-z-]+) \}\}", text)
    assert name is not None
    return inputs.get(name[1].replace("-", "_"), ACTION["inputs"][name[1]]["default"])


def test_every_input_is_explained_and_used() -> None:
    """And no other is."""
    text = (ROOT / "action.yml").read_text(encoding="utf-8").partition("\nruns:")[2]
    assert set(ACTION["inputs"]) == set(re.findall(r"inputs\.([a-z-]+)", text))
    assert all(one["description"] and "default" in one for one in ACTION["inputs"].values())


def test_no_input_becomes_a_part_of_a_command() -> None:
    """An expression in a script is replaced before the shell reads it: there is none."""
    scripts = [one["run"] for one in STEPS if "run" in one]
    assert 2 == len(scripts)
    assert all("${{" not in script for script in scripts)
    assert all(one["shell"] == "bash" for one in STEPS if "run" in one)


def test_every_variable_is_read_by_the_script() -> None:
    """A name that is misspelt would be an input that does nothing."""
    names = {name for one in STEPS for name in one.get("env", {})}
    assert names
    assert all(re.search(rf"\$\{{{name}:", SCRIPT) or f'"{name}"' in SCRIPT for name in names)


def test_the_reports_are_uploaded_when_the_run_is_red() -> None:
    """A step after a red one runs only if it says so."""
    (upload,) = [one for one in STEPS if "upload-artifact" in one.get("uses", "")]
    assert upload["if"].startswith("always() && ")


def test_torch_is_installed_first_from_its_own_index(
    step: Step, recorder: Callable[[], list[list[str]]], tmp_path: Path
) -> None:
    """Then the package with its extras: nothing else may choose torch's build."""
    assert 0 == step("Install", python=str(tmp_path / "bin" / "python"), extras="bnb,xdist").status
    torch, package = recorder()
    index = "https://download.pytorch.org/whl/cpu"
    assert ["-m", "pip", "install", "torch", "--index-url", index] == torch
    assert ["-m", "pip", "install", f"{ROOT}[html,bnb,xdist]"] == package


def test_extras_that_are_no_names_are_refused(
    step: Step, recorder: Callable[[], list[list[str]]], tmp_path: Path
) -> None:
    """What pip would take for something else is not handed to it."""
    done = step("Install", python=str(tmp_path / "bin" / "python"), extras="bnb] evil[x")
    assert 4 == done.status
    assert "INJX_EXTRAS: give names of extras" in done.text
    with pytest.raises(FileNotFoundError):
        recorder()


def test_inputs_arrive_as_they_are(
    step: Step, recorder: Callable[[], list[list[str]]], tmp_path: Path
) -> None:
    """Whatever a shell would make of them; further arguments are split as a shell would."""
    args = f"-k 'one and two' {shlex.quote(EVIL)}"
    step(
        "Audit",
        python=str(tmp_path / "bin" / "python"),
        **dict.fromkeys(("model", "reference", "quantization", "prompts", "layers"), EVIL),
        suite=f"./{EVIL}",
        args=args,
    )
    (arguments,) = recorder()
    assert ["-m", "pytest", f"./{EVIL}", "--injx-require"] == arguments[:4]
    for flag in ("model", "reference", "quantization", "prompts", "layers"):
        assert f"--injx-{flag}={EVIL}" in arguments
    assert ["--injx-no-cache", "-k", "one and two", EVIL] == arguments[9:13]
    assert not list(tmp_path.rglob("pwned"))


def test_what_is_left_empty_is_not_given(
    step: Step, recorder: Callable[[], list[list[str]]], tmp_path: Path
) -> None:
    """The shipped model and the example gate; nothing is kept."""
    step("Audit", python=str(tmp_path / "bin" / "python"))
    (arguments,) = recorder()
    step_summary = f"--injx-report=markdown:{tmp_path / 'step.md'}"
    assert [
        *("-m", "pytest", f"{ROOT}/example_suites/quantization_gate", "--injx-require"),
        *("--injx-no-cache", "--junitxml=injectivity/junit.xml"),
        *("--injx-report=json:injectivity/report.json",),
        *("--injx-report=markdown:injectivity/summary.md",),
        *("--injx-report=html:injectivity/page.html",),
        *("--injx-report=annotations:injectivity/annotations.txt", step_summary),
    ] == arguments


def test_arguments_that_a_shell_could_not_read_are_refused(step: Step) -> None:
    """A quote that is not closed; nothing runs."""
    done = step("Audit", args="-k 'one")
    assert 4 == done.status
    assert "INJX_ARGS: No closing quotation" in done.text


def test_a_red_run_is_red_in_every_way(step: Step, tmp_path: Path) -> None:
    """Exit status, outputs, step summary, reports, one annotation; what tests print is not obeyed."""
    (tmp_path / "test_unit.py").write_text(UNIT)
    done = step("Audit", suite="test_unit.py", args="-s -q")
    assert 1 == done.status
    reports = tmp_path / "injectivity"
    assert {
        "verdict": "red",
        "exit-status": "1",
        "reports": "injectivity",
        "report-json": "injectivity/report.json",
        "summary": "injectivity/summary.md",
        "page": "injectivity/page.html",
    } == done.outputs
    named = {name for one in ACTION["outputs"].values() for name in _outputs(one["value"])}
    assert named <= set(done.outputs)
    assert done.summary.startswith(
        "## ❌ Injectivity audit red: no verdict\n\n- nothing was compared"
    )
    assert done.summary == (reports / "summary.md").read_text(encoding="utf-8")
    assert {"page.html", "report.json", "summary.md", "junit.xml", "annotations.txt"} == {
        one.name for one in reports.iterdir()
    }
    assert cases(reports / "junit.xml")["nothing was compared"].find("failure") is not None
    assert "::set-output name=verdict::green" in done.text
    (error,) = obeyed(done.text)
    assert error.data.startswith("nothing was compared: ")


@pytest.mark.slow
def test_an_audit_is_annotated_at_its_gate(
    step: Step, tmp_path: Path, checkpoint: Callable[[str], Path], texts: list[str]
) -> None:
    """The whole way: a model, prompts and a suite of one's own."""
    (tmp_path / "test_gate.py").write_text(SUITE)
    (tmp_path / "p.txt").write_text("\n".join(texts))
    model = str(checkpoint("generic"))
    done = step("Audit", model=model, prompts="p.txt", suite="test_gate.py")
    assert (1, "red") == (done.status, done.outputs["verdict"])
    assert done.summary.startswith("## ❌ Injectivity audit red: 1 of 1 verdict is not PASS")
    (error,) = obeyed(done.text)
    assert ("test_gate.py", "3") == (error.properties["file"], error.properties["line"])


def test_a_run_that_could_not_begin_is_red_too(step: Step, tmp_path: Path) -> None:
    """Pytest writes no report when a flag is wrong; an older one is not taken for this run's."""
    (tmp_path / "injectivity").mkdir()
    for name in ("summary.md", "report.json", "page.html"):
        (tmp_path / "injectivity" / name).write_text("an older one")
    done = step("Audit", args="--injx-seed=-1")
    assert 4 == done.status
    assert ("error", "4") == (done.outputs["verdict"], done.outputs["exit-status"])
    assert done.summary.startswith("## ❌ Injectivity audit red: pytest ended with exit status 4")
    assert ["annotations.txt", "summary.md"] == sorted(
        one.name for one in (tmp_path / "injectivity").iterdir()
    )
    (error,) = obeyed(done.text)
    assert error.data.startswith("pytest ended with exit status 4")


def test_the_gitlab_jobs_command_is_understood(
    pytester: pytest.Pytester,
    checkpoint: Callable[[str], Path],
    texts: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its last line, with the variables it names; the artifacts are what it writes."""
    job = yaml.safe_load((ROOT / "docs" / "gitlab-ci.yml").read_text())["injectivity"]
    pytester.makepyfile(test_gate=SUITE)
    (pytester.path / "p.txt").write_text("\n".join(texts))
    given = {"MODEL": str(checkpoint("generic")), "PROMPTS": "p.txt", "SUITE": "test_gate.py"}
    assert set(given) <= set(job["variables"])
    for name, text in given.items():
        monkeypatch.setenv(name, text)
    program, *arguments = [os.path.expandvars(part) for part in shlex.split(job["script"][-1])]
    assert "pytest" == program
    assert pytest.ExitCode.TESTS_FAILED == pytester.runpytest_inprocess(*arguments).ret
    (folder,) = job["artifacts"]["paths"]
    written = {one.name for one in (pytester.path / folder).iterdir()}
    assert {"page.html", "report.json", "summary.md", "junit.xml"} == written
    assert (pytester.path / job["artifacts"]["reports"]["junit"]).is_file()
    assert "always" == job["artifacts"]["when"]


def _outputs(value: str) -> list[str]:
    return re.findall(r"steps\.audit\.outputs\.([a-z-]+)", value)
