"""The commands of the pages, run in order, page by page, on the shipped model in the place of yours.

A shell runs them, in a folder and an environment that know this package by its wheel alone. Prompts
are few, and the gate's longest tests are left out: other tests run them. The two suites that take
minutes are collected only, with every flag of the page; tests of their own run them.
"""

import json
import os
import shutil
import subprocess
from itertools import groupby
from pathlib import Path

import pytest
import torch

from pytest_injectivity import load_decoder
from pytest_injectivity.testing import save_checkpoint
from tests.documentation.blocks import BLOCKS, ROOT
from tests.wheels import installed_wheel

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
COLLECTED = ("pytest privacy", "pytest paper")
SAMPLES = " --samples=2 --size=10"
GATE = ROOT / "example_suites" / "quantization_gate"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands of the wheel are."""
    return installed_wheel(tmp_path_factory.mktemp("wheel"))


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
def folder(tmp_path: Path, models: dict[str, Path]) -> Path:
    """A folder that has what pages name: models, prompts and a suite."""
    places = dict.fromkeys(PARENTS, models["parent"])
    places |= dict.fromkeys(CHILDREN, models["child"])
    places |= dict.fromkeys(OTHERS, models["other"])
    for name, model in places.items():
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(model)
    texts = (ROOT / "docs" / "SPEC.md").read_text(encoding="utf-8").splitlines()
    texts = [text[:100] for text in texts if len(text) > 50][:40]
    (tmp_path / "prompts.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in texts))
    (tmp_path / "PROMPTS").mkdir()
    for at, text in enumerate(texts):
        (tmp_path / "PROMPTS" / f"{at}.txt").write_text(text)
    shutil.copytree(GATE, tmp_path / "SUITE")
    return tmp_path


def test_pages_have_commands() -> None:
    """The test below has something to run."""
    assert len(PAGES) >= 10


def test_the_commands_are_the_wheels(programs: Path, tmp_path: Path) -> None:
    """Not those of this tree, which the environment knows nothing of."""
    asked = [programs / "python", "-c", "import pytest_injectivity as one; print(one.__file__)"]
    done = subprocess.run(asked, cwd=tmp_path, env={}, capture_output=True, text=True, check=True)  # noqa: S603 - python itself
    assert done.stdout.startswith(str(programs.parent))
    assert {"pytest", "pytest-injectivity"} <= {one.name for one in programs.iterdir()}


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run(page: str, folder: Path, programs: Path) -> None:
    """Each is accepted and reaches its end: a run of pytest is green."""
    pytest.importorskip("bitsandbytes", reason="the extra bnb")
    text = "".join(block.text for block in PAGES[page])
    if "init" not in text:
        shutil.copytree(GATE, folder / "injectivity")
    gates = [one.text for one in BLOCKS if one.page == page and "def test_" in one.text]
    (folder / "test_gate.py").write_text(gates[0] if gates else "def test_own():\n    pass\n")
    if "before.json" in text:
        reports = "--injx-report=json:before.json --injx-report=json:after.json"
        _run(f"pytest SUITE -k collisions {reports}", folder, programs)
    said = {line: _run(line, folder, programs) for line in _commands(text)}
    assert said
    assert dict.fromkeys(said, "") == said


def _commands(text: str) -> list[str]:
    """The commands, each on one line; ``./dev release`` installs."""
    lines = text.replace("\\\n", "").splitlines()
    return [line for line in lines if line and not line.startswith("pip install")]


def _run(line: str, folder: Path, programs: Path) -> str:
    """Has a shell run a command; what is wrong, or nothing."""
    few = f"{FEW} --collect-only" if line.startswith(COLLECTED) else FEW
    calibrates = line.startswith("pytest-injectivity calibrate")
    kept = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder)}
    kept |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "GITHUB_SHA": "cafe"}
    done = subprocess.run(  # noqa: S603 - what the page says
        ["/bin/bash", "-c", _without_comment(line) + SAMPLES * calibrates],
        cwd=folder,
        env=kept | {"PYTEST_ADDOPTS": f"{few} -p no:cacheprovider"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr if done.returncode else ""


def _without_comment(line: str) -> str:
    return line.partition(" # ")[0]
