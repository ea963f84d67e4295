"""The wheel that ``pip install`` gets."""

import configparser
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    """The wheel of this tree, built by hatchling, offline."""
    pytest.importorskip("hatchling", reason="the group test has it")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(  # noqa: S603 - python itself
        [sys.executable, "-m", "hatchling", "build", "--target=wheel", f"--directory={folder}"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return ZipFile(built)


def test_the_wheel_says_that_it_is_typed(wheel: ZipFile) -> None:
    """Type checkers read the annotations of a package that holds py.typed."""
    assert "pytest_injectivity/py.typed" in wheel.namelist()


def test_the_wheel_holds_the_example_suites(wheel: ZipFile) -> None:
    """Every file of them, as data of the package."""
    inside = {
        path.relative_to(ROOT / "example_suites").as_posix(): path.read_bytes()
        for path in (ROOT / "example_suites").rglob("*")
        # `./dev audit` leaves pytest's cache beside them.
        if path.is_file()
        and path.suffix in {".ini", ".md", ".py"}
        and ".pytest_cache" not in path.parts
    }
    assert len(inside) > 10
    assert inside == {name: wheel.read(f"pytest_injectivity/suites/{name}") for name in inside}


def test_the_wheel_has_a_command_and_a_pytest_plugin(wheel: ZipFile) -> None:
    """``pytest-injectivity``, and the plugin that pytest finds."""
    (path,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    points = configparser.ConfigParser()
    points.read_string(wheel.read(path).decode())
    assert "pytest_injectivity.__main__:main" == points["console_scripts"]["pytest-injectivity"]
    assert "pytest_injectivity.plugin" == points["pytest11"]["injectivity"]


def test_the_wheel_needs_no_jaxtyping(wheel: ZipFile) -> None:
    """Its pytest plugin would import numpy at every start of pytest."""
    (path,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    needed = [
        line
        for line in wheel.read(path).decode().splitlines()
        if line.startswith("Requires-Dist: ")
    ]
    assert needed
    assert not [line for line in needed if "jaxtyping" in line]
