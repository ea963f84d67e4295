"""What every block of the pages keeps; others run them."""

import ast
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from pytest_injectivity.config.options import Options, off_flag, options
from tests.commands.test_completion import COMMANDS
from tests.documentation.blocks import BLOCKS, PAGES, ROOT, Block, blocks

FLAGS = {f"--injx-{one.name.replace('_', '-')}" for one in fields(Options)}
FLAGS |= {"--injx-update-baseline", "--injx-no-cache", "--injx-require", "--injx-plan"}


def _some(*languages: str) -> list[object]:
    return [pytest.param(block, id=block.place) for block in BLOCKS if block.language in languages]


def test_there_are_blocks() -> None:
    """On most pages, and most of those that could run do."""
    runnable = [block for block in BLOCKS if block.language in {"bash", "python"}]
    assert len(PAGES) > 20
    assert len(runnable) > 40
    assert len([block for block in runnable if not block.not_run]) > len(runnable) / 2


def test_every_block_says_its_language() -> None:
    """What a program printed is `text`, so that no command is taken for it and left untested."""
    assert [] == [block.place for block in BLOCKS if not block.language]
    printed = [
        block.place for block in BLOCKS if ": FAIL" in block.text and block.language == "bash"
    ]
    assert [] == printed
    commands = re.compile(r"^(\$ )?(pytest|pip install|pytest-injectivity|\./dev|lm_eval) ")
    texts = [block for block in BLOCKS if block.language == "text"]
    silent = [one for one in texts if commands.match(one.text) and one.page != "CONTRIBUTING.md"]
    # What a command printed may begin with the command and a dollar.
    assert [] == [one.place for one in silent if not one.text.startswith("$ ")]


def test_only_what_could_run_says_why_it_does_not() -> None:
    """A reason that stands before no command, or before no block at all, is forgotten."""
    assert {"bash", "python"} >= {block.language for block in BLOCKS if block.not_run}
    said = sum(
        len(re.findall(r"^ *<!-- not run: ", page.read_text(), re.MULTILINE)) for page in PAGES
    )
    assert said == len([block for block in BLOCKS if block.not_run])


@pytest.mark.parametrize("block", _some("python"))
def test_python_is_python(block: Block) -> None:
    """It can be parsed as it stands."""
    assert ast.parse(block.text).body


@pytest.mark.parametrize("block", _some("bash"))
def test_flags_exist(block: Block) -> None:
    """Every flag of an audit that a command gives, whether a test runs it or not."""
    words = shlex.split(block.text.replace("<<END", ""), comments=True)
    given = {word.partition("=")[0] for word in words if word.startswith("--injx-")}
    assert given <= FLAGS
    assert words


def test_flags_and_commands_in_sentences_exist() -> None:
    """Those that no block gives, too."""
    text = "".join(page.read_text() for page in PAGES if page.name != "log.md")
    off = {off_flag(one) for one in options() if "switch" in one.metadata}
    assert FLAGS | off >= set(re.findall(r"--injx-[a-z]+(?:-[a-z]+)*", text))
    named = set(re.findall(r"`pytest-injectivity ([a-z]+)", text))
    assert {"audit", "init"} <= named <= set(COMMANDS)


def test_the_commands_of_the_chores_exist() -> None:
    """Every `./dev NAME` of a page is one of the script."""
    known = set(re.findall(r"^([a-z]+)\)", (ROOT / "dev").read_text(), re.MULTILINE))
    text = "".join(page.read_text() for page in PAGES if page.name != "log.md")
    named = set(re.findall(r"\./dev ([a-z]+)", text))
    assert named > {"audit", "test"}
    assert named <= known | {"alone"}  # ./dev alone lists them


def test_a_block_is_read_as_it_stands(tmp_path: Path) -> None:
    """Inside a list, with its title and what is said above it."""
    page = tmp_path / "page.md"
    text = '- x\n  <!-- not run: why -->\n  ```python title="a.py"\n  if 1:\n      b\n  ```\n'
    page.write_text(text)
    (block,) = blocks(page, tmp_path)
    assert Block("page.md", 3, "python", "a.py", "if 1:\n    b\n", "why", "") == block
