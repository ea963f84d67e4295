"""What the integration tests look for in the outputs of a run."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import pytest

GATE = """
def test_collisions(injx, injx_layer):
    injx.assert_no_collisions(injx_layer)

def test_margin(injx):
    injx.assert_margin_above("2:,norm", 1e9)
"""
PROMPTS = ["heliotrope box", "heliotrope boy", "a quagmire", "what else"]
"""Prompts for a gate that is red by its margins."""

# What an outer run would tell the inner one.
_OUTER = ("PYTEST_XDIST", "PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "CI", "COLUMNS", "GITHUB_")


class Done(NamedTuple):
    """A run that is over: its exit status, its output and the folder it left."""

    status: int
    text: str
    folder: Path

    @property
    def junit(self) -> Path:
        """The JUnit report."""
        return self.folder / "junit.xml"


def run_pytest(folder: Path, suite: str, *flags: str, **environment: str | None) -> Done:
    """Runs a suite in a process of its own, as if no other pytest had started it.

    Args:
        folder: where the suite is written and run.
        suite: its only file.
        flags: of pytest.
        environment: variables set, or taken away, in the process.
    """
    (folder / "test_suite.py").write_text(suite)
    return run_python(folder, "-m", "pytest", "-p", "no:cacheprovider", *flags, **environment)


def run_python(folder: Path, *arguments: str, **environment: str | None) -> Done:
    """Runs Python in a folder, as if no pytest and no service had started it.

    Args:
        folder: where it runs.
        arguments: of the interpreter.
        environment: variables set, or taken away, in the process.
    """
    kept = {name: text for name, text in os.environ.items() if not name.startswith(_OUTER)}
    wanted = {**kept, "COLUMNS": "80", **environment}
    done = subprocess.run(  # noqa: S603 - python itself
        [sys.executable, *arguments],
        cwd=folder,
        env={name: text for name, text in wanted.items() if text is not None},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, folder)


def output(result: pytest.RunResult) -> str:
    """Everything a run wrote to its terminal."""
    return result.stdout.str() + "\n" + result.stderr.str()


def said(result: pytest.RunResult) -> str:
    """The output on one line: a table folds its cells, a terminal its lines."""
    return " ".join(output(result).split())


def cases(path: Path) -> dict[str, ET.Element]:
    """The test cases of a JUnit file, by their names."""
    return {case.attrib["name"]: case for case in ET.parse(path).iter("testcase")}  # noqa: S314 - written by pytest, just now


def properties(case: ET.Element) -> dict[str, str]:
    """The properties of a test case."""
    return {one.attrib["name"]: one.attrib["value"] for one in case.iter("property")}


def reproduce_lines(result: pytest.RunResult) -> list[str]:
    """The commands that a run's failures name."""
    return re.findall(r"reproduce: (pytest .*)", output(result))


def table_rows(result: pytest.RunResult) -> dict[str, list[str]]:
    """The rows of the table of layers: the cells of each layer, as far as it has numbers."""
    table = output(result).partition("\nlayer ")[2].partition("\ncolumns: ")[0]
    found = re.findall(r"^(layer\d\d|norm) +(\d.*)$", table, re.MULTILINE)
    return {name: cells.split() for name, cells in found}
