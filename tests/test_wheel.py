"""The wheel that ``pip install`` gets."""

import configparser
from zipfile import ZipFile

import pytest

from tests.wheels import ROOT, built_wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    """The wheel of this tree."""
    return ZipFile(built_wheel(tmp_path_factory.mktemp("wheel")))


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


def test_the_wheel_holds_the_templates_of_the_page(wheel: ZipFile) -> None:
    """They are no Python and are loaded from the package."""
    folder = "pytest_injectivity/reports/page/templates"
    inside = {path.name for path in (ROOT / folder).iterdir()}
    assert {"page.html.jinja", "style.css"} <= inside
    assert inside == {name.rpartition("/")[2] for name in wheel.namelist() if folder in name}


def test_the_wheel_holds_nothing_compiled(wheel: ZipFile) -> None:
    """Nor what pytest leaves beside tests."""
    assert [] == [name for name in wheel.namelist() if name.endswith(".pyc") or "/." in name]


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
