"""Puts what the commands print into the README, between its markers: ``./dev readme``.

A section of the README between ``<!-- NAME -->`` and ``<!-- /NAME -->`` is what the command of that
name printed, so the README shows what a reader will see, and nobody types a number.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
WIDTH = "80"
STRICT_GATE = """\
def test_separation_margin(assert_margin_above):
    assert_margin_above("all", 0.06, normalized=True)
"""


def pytest_output(*arguments: str, cwd: Path = ROOT) -> str:
    """What pytest prints, 80 columns wide, without colours; failing tests are no error here."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(  # noqa: S603 - the arguments are this file's own
        command, cwd=cwd, capture_output=True, text=True, check=False, env={"COLUMNS": WIDTH}
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def audit() -> str:
    """The summary of the example gate on the shipped model."""
    printed = pytest_output("-q", "--injx-no-cache", "example_suites/quantization_gate")
    found = re.search(r"^=+ injectivity =+\n(.*verdicts PASS)$", printed, re.MULTILINE | re.DOTALL)
    if found is None:
        raise RuntimeError(f"the audit printed no summary:\n{printed}")
    return found[1]


def failure() -> str:
    """A gate that asks for more than the shipped model has."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "test_gate.py").write_text(STRICT_GATE)
        printed = pytest_output(
            "-q", "--injx-no-cache", "--injx-hash-key=readme", "test_gate.py", cwd=Path(folder)
        )
    lines = re.findall(r"^E   (.*)$", printed, re.MULTILINE)
    return "\n".join(line.removeprefix("    ") for line in lines)


def options() -> str:
    """The flags, as ``pytest --help`` explains them."""
    printed = pytest_output("--help")
    found = re.search(r"^audit of a causal.*?\n(?=^\S)", printed, re.MULTILINE | re.DOTALL)
    if found is None:
        raise RuntimeError("pytest --help has no group of injectivity options")
    return found[0].partition("\n")[2]


SECTIONS: dict[str, Callable[[], str]] = {"audit": audit, "failure": failure, "options": options}


def replaced(text: str, name: str, printed: str) -> str:
    """The README with one section renewed."""
    lines = "\n".join(line.rstrip() for line in printed.strip("\n").split("\n"))
    block = f"<!-- {name} -->\n```\n{lines}\n```\n<!-- /{name} -->"
    section = rf"<!-- {name} -->.*?<!-- /{name} -->"
    text, count = re.subn(section, lambda _: block, text, flags=re.DOTALL)
    if count != 1:
        raise RuntimeError(f"README.md has {count} sections {name}, not 1")
    return text


def main() -> None:
    """Rewrite each section of the README."""
    readme = ROOT / "README.md"
    text = readme.read_text()
    for name, printed in SECTIONS.items():
        text = replaced(text, name, printed())
    readme.write_text(text)


if __name__ == "__main__":
    main()
