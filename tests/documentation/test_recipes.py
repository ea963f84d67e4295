"""Each recipe of CONTRIBUTING.md is followed, and the contract tests test what was added."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.documentation.recipes import Recipe, added, copied, follow, recipes

RECIPES = recipes()
WORDS = {
    "A family of models": "arcee",
    "A format of quantized checkpoints": "ternary",
    "A step of a release": "sign",
    "An attacker": "inner product",
    "A metric, and a check": "norm_below",
    "A kind of report": "tsv",
}
"""What the ids of contract tests are named by."""


def test_there_are_six_recipes() -> None:
    """One for each kind of thing that users add."""
    assert list(WORDS) == [recipe.name for recipe in RECIPES]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this one in which all recipes were followed."""
    root = copied(tmp_path_factory.mktemp("repository"))
    for recipe in RECIPES:
        follow(recipe, root)
    return root


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=lambda one: one[0])
def test_what_recipes_write_has_the_style_of_the_package(
    repository: Path, command: list[str]
) -> None:
    """Ruff finds nothing in the files, and formats them as they are."""
    pytest.importorskip("ruff", reason="the group lint has it")
    files = [step.title for recipe in RECIPES for step in added(recipe)]
    assert 5 == len(files)
    done = subprocess.run(  # noqa: S603 - ruff itself
        [sys.executable, "-m", "ruff", *command, "--no-cache", *files],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stdout


def test_a_recipe_of_other_lines_is_refused(tmp_path: Path) -> None:
    """Lines that were renamed since are not guessed."""
    recipe = next(one for one in RECIPES if one.name == "A kind of report")
    file = tmp_path / recipe.steps[0].title
    file.parent.mkdir(parents=True)
    file.write_text("REPORT_KINDS = {}\n")
    with pytest.raises(ValueError, match=r"the lines are in \S+ 0 times"):
        follow(recipe, tmp_path)


@pytest.fixture(scope="module")
def ran(repository: Path) -> dict[str, bool]:
    """The contract tests that were chosen, all in one process: whether each passed."""
    files = {file for recipe in RECIPES for file in recipe.files}
    chosen = " or ".join(f"({recipe.chosen})" for recipe in RECIPES)
    junit = repository / "junit.xml"
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={junit}", "-k", chosen]
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(  # noqa: S603 - pytest itself
        [sys.executable, *command, *sorted(files)],
        cwd=repository,
        env=kept | {"PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert junit.exists(), done.stdout + done.stderr
    cases = ET.parse(junit).iter("testcase")  # noqa: S314 - written by pytest
    return {one.get("name", ""): not len(one) for one in cases}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [pytest.param(one, id=one.name) for one in RECIPES])
def test_the_contract_tests_what_a_recipe_adds(recipe: Recipe, ran: dict[str, bool]) -> None:
    """Without being told: some of its tests have its name, and all that were chosen pass."""
    named = [name for name in ran if f"{WORDS[recipe.name]}" in name.partition("[")[2]]
    assert len(named) >= 2
    assert [] == [name for name, passed in ran.items() if not passed]
