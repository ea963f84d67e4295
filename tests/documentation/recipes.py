"""The recipes of CONTRIBUTING.md, followed to the letter."""

import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tests.documentation.blocks import ROOT, Block, blocks

PAGE = ROOT / "CONTRIBUTING.md"
CONTRACT = "the contract"
_COPIED = ("pytest_injectivity", "tests", "scripts", "example_suites", "docs", "pyproject.toml")


@dataclass(frozen=True)
class Recipe:
    """How one is added.

    Attributes:
        name: the words of its heading.
        steps: the files to write and the lines to add.
        files: where its contract tests are.
        chosen: which of their tests, as `-k` takes it.
    """

    name: str
    steps: tuple[Block, ...]
    files: tuple[str, ...]
    chosen: str


def recipes() -> list[Recipe]:
    """The recipes, in order."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    starts = {at + 1: line.removeprefix("### ") for at, line in enumerate(lines) if "### " in line}

    def heading(block: Block) -> int:
        return max(start for start in starts if start < block.line)

    titled = [block for block in blocks(PAGE) if block.title]
    return [_recipe(starts[start], list(own)) for start, own in groupby(titled, heading)]


def _recipe(name: str, own: list[Block]) -> Recipe:
    *steps, contract = own
    program, *words = shlex.split(contract.text)
    if (CONTRACT, "pytest", "-k") != (contract.title, program, words[-2]):
        raise ValueError(f"{contract.place}: a recipe ends with pytest FILES -k WORDS")
    return Recipe(name, tuple(steps), tuple(words[:-2]), words[-1])


def copied(to: Path) -> Path:
    """A copy of what recipes change and their contract tests read."""
    ignored = shutil.ignore_patterns("__pycache__", ".*", "*.svg")
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=ignored)
        else:
            shutil.copy(source, to / name)
    return to


def follow(recipe: Recipe, root: Path) -> None:
    """Does what a recipe says.

    Args:
        recipe: which.
        root: a copy of the repository.

    Raises:
        ValueError: the lines around an addition are not in the file, or are there twice.
    """
    for step in recipe.steps:
        path = root / step.title
        if step.language == "diff":
            path.write_text(_changed(path.read_text("utf-8"), step), "utf-8")
        elif path.exists():
            raise ValueError(f"{step.place}: {step.title} is there already")
        else:
            path.write_text(step.text, "utf-8")


def _changed(text: str, step: Block) -> str:
    lines = step.text.splitlines()
    before = "".join(f"{line[1:]}\n" for line in lines if line[:1] in {" ", "-"})
    after = "".join(f"{line[1:]}\n" for line in lines if line[:1] in {" ", "+"})
    if text.count(before) != 1:
        raise ValueError(f"{step.place}: the lines are in {step.title} {text.count(before)} times")
    return text.replace(before, after)


def added(recipe: Recipe) -> Iterator[Block]:
    """The files that a recipe writes."""
    return (step for step in recipe.steps if step.language == "python")
