"""Puts what the commands print into the pages, between their markers: ``./dev readme``.

A section of a page between ``<!-- NAME -->`` and ``<!-- /NAME -->`` is what the command of that name
printed, so the page shows what a reader will see, and nobody types a number.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from iniconfig import IniConfig

ROOT = Path(__file__).parent.parent
WIDTH = "80"
GATE_INI = ROOT / "example_suites" / "quantization_gate" / "pytest.ini"
STRICT_GATE = """\
def test_separation_margin(assert_margin_above):
    assert_margin_above("all", 0.06, normalized=True)
"""


def pytest_output(*arguments: str, cwd: Path = ROOT, **environment: str) -> str:
    """What pytest prints, 80 columns wide, without colors; failing tests are no error here."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return printed_by(command, cwd, {"COLUMNS": WIDTH} | environment)


def audit() -> str:
    """The summary of the example gate on the shipped model."""
    printed = pytest_output("-q", "--injx-no-cache", "example_suites/quantization_gate")
    return fenced(summary(printed))


def summary(printed: str) -> str:
    """The section of this plugin in what pytest prints."""
    found = re.search(
        r"^=+ injectivity =+\n(.*?)^(?:=+ |\d+ (?:passed|failed))",
        printed,
        re.MULTILINE | re.DOTALL,
    )
    if found is None:
        raise RuntimeError(f"the audit printed no summary:\n{printed}")
    return found[1]


def own_output(*arguments: str, cwd: Path = ROOT) -> str:
    """What ``pytest-injectivity`` prints, 80 columns wide."""
    return printed_by([sys.executable, "-m", "pytest_injectivity", *arguments], cwd)


def commands() -> str:
    """The commands, as the help explains them."""
    printed = own_output("--help")
    return fenced(printed[printed.index("commands:") :])


def audited() -> str:
    """The default audit of the shipped model held in 4 bits."""
    with tempfile.TemporaryDirectory() as folder:
        model = ("builtin:gpt2-stdlib", "--quantization=bnb-nf4", "--reference=builtin:gpt2-stdlib")
        return fenced(summary(own_output("audit", *model, "--no-cache", cwd=Path(folder))))


def explained() -> str:
    """A red report in plain sentences."""
    with tempfile.TemporaryDirectory() as folder:
        strict_output(folder, "--injx-report=json:found.json")
        return fenced(own_output("explain", "found.json", cwd=Path(folder)))


def strict_output(folder: str, *flags: str) -> str:
    """What pytest prints of a gate that asks for more than the shipped model has."""
    (Path(folder) / "test_gate.py").write_text(STRICT_GATE)
    given = ("-q", "--injx-no-cache", *flags, "test_gate.py")
    return pytest_output(*given, cwd=Path(folder), INJX_HASH_KEY="readme")


def failure() -> str:
    """A gate that asks for more than the shipped model has."""
    with tempfile.TemporaryDirectory() as folder:
        printed = strict_output(folder)
    lines = re.findall(r"^E   (.*)$", printed, re.MULTILINE)
    return fenced("\n".join(line.removeprefix("    ") for line in lines))


def plan() -> str:
    """What the example gate would measure of the shipped model, phase by phase."""
    printed = pytest_output("--injx-plan", "example_suites/quantization_gate")
    found = re.search(r"^phase .*^together[^\n]*$", printed, re.MULTILINE | re.DOTALL)
    if found is None:
        raise RuntimeError(f"the plan printed no phases:\n{printed}")
    return fenced(found[0])


def options() -> str:
    """The flags, as ``pytest --help`` explains them."""
    printed = pytest_output("--help")
    found = re.search(r"^audit of a causal.*?\n(?=^\S)", printed, re.MULTILINE | re.DOTALL)
    if found is None:
        raise RuntimeError("pytest --help has no group of injectivity options")
    return fenced(found[0].partition("\n")[2])


def calibrated() -> str:
    """A threshold of the example gate as ``pytest-injectivity calibrate`` wrote it."""
    blocks = GATE_INI.read_text(encoding="utf-8").split("\n\n")
    (found,) = (block for block in blocks if "\ngate_drift =" in block)
    return fenced(found)


def thresholds() -> str:
    """The thresholds of the example gate, as its ini has them, with what they were measured on."""
    ini = IniConfig(str(GATE_INI))["pytest"]
    gate = {name: value.split("\n") for name, value in ini.items() if name.startswith("gate_")}
    sample = "".join(f"- {line}\n" for line in gate.pop("gate_calibration"))
    rows = [f"| `{name}` | {', '.join(lines)} |" for name, lines in gate.items()]
    return "\n".join(["| value | threshold |", "| --- | --- |", *rows, "", sample.rstrip()])


def ci_summary(suite: str = "", cwd: Path = ROOT) -> str:
    """What CI shows of an audit of the shipped model: the steps of the action, run by hand."""
    outer = ("GITHUB_", "INJX_", "PYTEST_")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(outer)}
    with tempfile.TemporaryDirectory() as reports:
        given = {"PYTHON": sys.executable, "INJX_REPORTS": reports, "INJX_SUITE": suite}
        command = [str(ROOT / "scripts" / "ci_audit.sh"), "audit"]
        done = subprocess.run(  # noqa: S603 - this project's own script
            command, cwd=cwd, capture_output=True, text=True, check=False, env=kept | given
        )
        if done.returncode not in (0, 1):
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
        return quoted((Path(reports) / "summary.md").read_text(encoding="utf-8"))


def red_ci_summary() -> str:
    """What CI shows of a gate that asks for more than the shipped model has."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "test_gate.py").write_text(STRICT_GATE)
        return ci_summary("test_gate.py", cwd=Path(folder))


MEASURED = """\
def test_margin(assert_margin_above):
    assert_margin_above("all", 0.02, normalized=True)
"""


def history() -> str:
    """Ten runs of the shipped model with a drift, as ``pytest-injectivity history`` has them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_gate.py").write_text(MEASURED)
        flags = ("--injx-no-cache", "--injx-max-prompts=300", "--injx-report=json:run.json")
        pytest_output("-q", *flags, "test_gate.py", cwd=folder)
        script = str(ROOT / "scripts" / "planted_history.py")
        printed_by([sys.executable, script, "run.json", "reports"], folder)
        return fenced(own_output("history", "reports", cwd=folder))


def bag() -> str:
    """What the reference bag holds, and how well each model is foretold by the others."""
    script = str(ROOT / "scripts" / "reference_bag.py")
    return printed_by([sys.executable, script, "coverage"], ROOT)


def printed_by(
    command: Sequence[str], cwd: Path, environment: Mapping[str, str] | None = None
) -> str:
    """What a command of this project prints; exit status 1 is an answer.

    Args:
        command: the program and its arguments.
        cwd: where it runs.
        environment: all variables; None: those of this process, 80 columns and no CI.
    """
    wide = {**os.environ, "COLUMNS": WIDTH, "GITHUB_ACTIONS": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(  # noqa: S603 - this project's own
        command, cwd=cwd, capture_output=True, text=True, check=False, env=environment or wide
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout.strip("\n")


PAGES: dict[str, dict[str, Callable[[], str]]] = {
    "docs/quick-start.md": {"audit": audit},
    "docs/failures.md": {"failure": failure},
    "docs/options.md": {"options": options},
    "docs/planning.md": {"plan": plan},
    "docs/thresholds.md": {"calibrated": calibrated},
    "example_suites/quantization_gate/README.md": {"thresholds": thresholds},
    "docs/commands.md": {"commands": commands, "audited": audited, "explained": explained},
    "docs/ci.md": {"green": ci_summary, "red": red_ci_summary},
    "docs/history.md": {"history": history, "bag": bag},
}


def fenced(printed: str) -> str:
    """Output of a terminal."""
    lines = "\n".join(line.rstrip() for line in printed.strip("\n").split("\n"))
    return f"```text\n{lines}\n```"


def quoted(markdown: str) -> str:
    """Markdown of its own, as it looks where it is shown."""
    return "\n".join(f"> {line}".rstrip() for line in markdown.strip("\n").split("\n"))


def replaced(text: str, name: str, block: str) -> str:
    """The page with one section renewed."""
    section = rf"<!-- {name} -->.*?<!-- /{name} -->"
    renewed = f"<!-- {name} -->\n{block}\n<!-- /{name} -->"
    text, count = re.subn(section, lambda _: renewed, text, flags=re.DOTALL)
    if count != 1:
        raise RuntimeError(f"the page has {count} sections {name}, not 1")
    return text


def main(pages: list[str]) -> None:
    """Rewrite each section of these pages, or of all."""
    for page in pages or PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for name, printed in PAGES[page].items():
            text = replaced(text, name, printed())
        (ROOT / page).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
