"""The commands of the pages, run in order, page by page, on the shipped model in the place of yours.

Prompts are few, and the gate's longest tests are left out: other tests run them. The two suites that
take minutes are collected only, with every flag of the page; tests of their own run them.
"""

import json
import shlex
import shutil
import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pytest
import torch

from pytest_injectivity import load_decoder
from pytest_injectivity.__main__ import main
from pytest_injectivity.testing import save_checkpoint
from tests.documentation.blocks import BLOCKS, ROOT
from tests.integration.support import output

pytestmark = pytest.mark.slow

SHELL = [
    block for block in BLOCKS if block.language == "bash" and not block.not_run and not block.title
]
PAGES = {page: list(own) for page, own in groupby(SHELL, lambda block: block.page)}
PARENTS = ("my-model", "PARENT", "MODEL", "PATH", "OTHER", "checkpoints/parent")
CHILDREN = ("my-4bit", "my-4bit-that-is-sound", "CHILD", "ANOTHER", "checkpoints/nf4")
CHILDREN = (*CHILDREN, "checkpoints/mine", "path/to/checkpoint")
OTHERS = ("checkpoints/awq",)
FEW = "--injx-max-prompts=24 -k 'not recover and not rounded and not distinct'"
LONG = ("pytest privacy", "pytest paper")
SAMPLES = ["--samples=2", "--size=10"]
INSTALLS = "pip"  # tests/test_wheel.py installs
GATE = ROOT / "example_suites" / "quantization_gate"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The shipped model, itself in bfloat16, and these numbers stored in float32, as folders."""
    folder = tmp_path_factory.mktemp("models")
    decoder = load_decoder("builtin:gpt2-stdlib")
    parent = save_checkpoint(decoder, folder / "parent")
    decoder.model.to(torch.bfloat16)
    child = save_checkpoint(decoder, folder / "child")
    decoder.model.to(torch.float32)
    other = save_checkpoint(decoder, folder / "other")
    return {"parent": parent, "child": child, "other": other}


@pytest.fixture
def folder(pytester: pytest.Pytester, models: dict[str, Path]) -> Path:
    """A folder that has what pages name: models, prompts, a suite and two reports."""
    places = dict.fromkeys(PARENTS, models["parent"])
    places |= dict.fromkeys(CHILDREN, models["child"])
    places |= dict.fromkeys(OTHERS, models["other"])
    for name, model in places.items():
        place = pytester.path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(model)
    texts = (ROOT / "docs" / "SPEC.md").read_text(encoding="utf-8").splitlines()
    texts = [text[:100] for text in texts if len(text) > 50][:40]
    (pytester.path / "prompts.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in texts))
    (pytester.path / "PROMPTS").mkdir()
    for at, text in enumerate(texts):
        (pytester.path / "PROMPTS" / f"{at}.txt").write_text(text)
    shutil.copytree(GATE, pytester.path / "SUITE")
    return pytester.path


def test_pages_have_commands() -> None:
    """The test below has something to run."""
    assert len(PAGES) >= 10


@pytest.mark.usefixtures("_bitsandbytes")
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run(
    page: str, folder: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is accepted and reaches its end: a run of pytest is green."""
    text = "".join(block.text for block in PAGES[page])
    if "init" not in text:
        shutil.copytree(GATE, folder / "injectivity")
    gates = [one.text for one in BLOCKS if one.page == page and "def test_" in one.text]
    pytester.makepyfile(test_gate=gates[0] if gates else "")
    monkeypatch.setenv("PYTEST_ADDOPTS", FEW)
    if "before.json" in text:
        reports = ["--injx-report=json:before.json", "--injx-report=json:after.json"]
        pytester.runpytest_inprocess("SUITE", "-k", "collisions", *reports)
    run = _runner(pytester)
    said = {line: run(line) for line in _commands(text)}
    assert said
    assert dict.fromkeys(said, "") == said


def _commands(text: str) -> list[str]:
    """The commands, each on one line and without comments."""
    words = (shlex.split(line, comments=True) for line in text.replace("\\\n", "").splitlines())
    return [shlex.join(one) for one in words if one and one[0] != INSTALLS]


def _runner(pytester: pytest.Pytester) -> Callable[[str], str]:
    """Runs a command in this process; what is wrong, or nothing."""

    def run(line: str) -> str:
        program, *arguments = shlex.split(line)
        if program == "pytest":
            only = ["--collect-only"] if line.startswith(LONG) else []
            result = pytester.runpytest_inprocess(*arguments, *only)
            return "" if result.ret == pytest.ExitCode.OK else output(result)
        if arguments[0] == "audit":  # it runs pytest itself
            done = pytester.run(sys.executable, "-m", "pytest_injectivity", *arguments)
            return "" if done.ret == 0 else output(done)
        few = SAMPLES if arguments[0] == "calibrate" else []
        status = main([*arguments, *few])
        return "" if status == 0 else f"{program} ended with {status}"

    return run
