"""What the integration tests look for in the outputs of a run."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest


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
    table = output(result).partition("\nlayer ")[2].partition("\ncoll. ")[0]
    found = re.findall(r"^(layer\d\d|norm) +(\d.*)$", table, re.MULTILINE)
    return {name: cells.split() for name, cells in found}
