"""Pages that list everything of a kind list all of it."""

import re
from pathlib import Path

import pytest_injectivity
from pytest_injectivity.commands.suites import suite_folders

ROOT = Path(__file__).parents[2]


def _page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def _checks() -> set[str]:
    folder = Path(pytest_injectivity.__file__).parent / "audit" / "checks"
    return {one.stem for one in folder.glob("[!_]*.py")}


def test_every_exported_name_is_on_the_page_of_the_api() -> None:
    """And nothing else: the page says that a script needs nothing else."""
    named = re.findall(r"^::: [\w.]+\.(\w+)$", _page("api.md"), re.MULTILINE)
    assert sorted(pytest_injectivity.__all__) == sorted(named)


def test_every_check_has_a_row_on_the_page_of_checks() -> None:
    """The page says of each when it passes."""
    rows = [line for line in _page("checks.md").split("\n") if line.startswith("| `assert_")]
    named = {name for row in rows for name in re.findall(r"`assert_(\w+)\(", row.split(" | ")[0])}
    assert _checks() == named


def test_every_suite_is_on_the_site() -> None:
    """A suite that no page leads to is never copied."""
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert set(suite_folders()) == set(re.findall(r"- suites/(\w+)\.md", nav))
