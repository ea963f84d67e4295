"""The Python blocks of the pages, run as a reader runs them."""

import argparse
import inspect
import re
import runpy
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_injectivity.prompts.stdlib import texts_of
from tests.documentation.blocks import BLOCKS, Block
from tests.integration.support import output

PYTHON = [
    block
    for block in BLOCKS
    if block.language == "python" and not block.not_run and not block.title
]
GATES = [block for block in PYTHON if "def test_" in block.text]
QUANTIZED = [block for block in GATES if "bnb" in block.run_with]
PLAIN = [block for block in GATES if block not in QUANTIZED]
SCRIPTS = [block for block in PYTHON if "def test_" not in block.text]
PRINTED = {"docs/checks.md": r"(PASS|FAIL) margin_above: "}


def test_there_are_gates_and_scripts() -> None:
    """The tests below have something to run."""
    assert len(PLAIN) >= 3
    assert len(QUANTIZED) >= 2
    assert len(SCRIPTS) >= 2


@pytest.mark.parametrize("gate", [pytest.param(one, id=one.place) for one in PLAIN])
def test_a_gate_is_green_on_the_shipped_model(pytester: pytest.Pytester, gate: Block) -> None:
    """A reader pastes it into a file and runs pytest.

    SipIt's test is left out: it takes ten seconds, and other tests run it on this model.
    """
    assert_green(gate, pytester)


@pytest.mark.usefixtures("_bitsandbytes")
@pytest.mark.parametrize("gate", [pytest.param(one, id=one.place) for one in QUANTIZED])
def test_a_gate_of_quantized_models_is_green(pytester: pytest.Pytester, gate: Block) -> None:
    """On the shipped model in nf4."""
    assert_green(gate, pytester)


def assert_green(gate: Block, pytester: pytest.Pytester) -> None:
    """Every test of a gate passes."""
    pytester.makepyfile(test_gate=gate.text)
    flags = ("--injx-prompts=builtin:random", "--injx-max-prompts=24", "--injx-no-cache")
    flags = (*flags, *shlex.split(gate.run_with))
    result = pytester.runpytest_inprocess(*flags, "--deselect=test_gate.py::test_prompts_survive")
    assert result.ret == pytest.ExitCode.OK, output(result)
    wanted = gate.text.count("def test_") - gate.text.count("def test_prompts_survive")
    assert wanted <= result.parseoutcomes()["passed"]


@pytest.fixture
def folder(
    pytester: pytest.Pytester,
    checkpoint: Callable[[str], Path],
    prompt_file: Callable[[list[str]], Path],
    texts: list[str],
) -> Path:
    """One that holds the checkpoint and the prompts that scripts name."""
    shutil.copytree(checkpoint("generic"), pytester.path / "checkpoints" / "my-model")
    shutil.copy(prompt_file(texts), pytester.path / "prompts.jsonl")
    return pytester.path


@pytest.fixture
def _small_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A standard library of one module, in a store of its own: reading all of it takes seconds."""
    texts = tuple(dict.fromkeys(texts_of(inspect.getsource(argparse), "argparse.py")))
    monkeypatch.setattr("pytest_injectivity.prompts.stdlib.stdlib_texts", lambda: texts)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "store"))


@pytest.mark.parametrize("script", [pytest.param(one, id=one.place) for one in SCRIPTS])
@pytest.mark.usefixtures("_small_library")
def test_a_script_runs(script: Block, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It ends, and prints what the page says."""
    (folder / "script.py").write_text(script.text)
    runpy.run_path("script.py")
    assert re.match(PRINTED.get(script.page, ""), capsys.readouterr().out)
