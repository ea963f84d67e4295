"""The Python blocks of the README, run as a reader runs them."""

import re
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.support import output

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
GATES = [block for block in BLOCKS if "def test_" in block]
SCRIPT = next(block for block in BLOCKS if "AuditConfig" in block)


def test_there_are_gates() -> None:
    """The test below has something to run."""
    assert len(GATES) >= 2


@pytest.mark.parametrize("gate", GATES, ids=range(len(GATES)))
def test_a_gate_is_green_on_the_shipped_model(pytester: pytest.Pytester, gate: str) -> None:
    """A reader pastes it into a file and runs pytest.

    SipIt's test is left out: it takes ten seconds, and other tests run it on this model.
    """
    pytester.makepyfile(test_gate=gate)
    flags = ("--injx-prompts=builtin:random", "--injx-max-prompts=48", "--injx-no-cache")
    result = pytester.runpytest_inprocess(*flags, "--deselect=test_gate.py::test_prompts_survive")
    assert result.ret == pytest.ExitCode.OK, output(result)
    assert (
        gate.count("def test_") - gate.count("def test_prompts_survive")
        <= result.parseoutcomes()["passed"]
    )


def test_the_script_prints_a_verdict(
    pytester: pytest.Pytester,
    capsys: pytest.CaptureFixture[str],
    checkpoint: Callable[[str], Path],
    prompt_file: Callable[[list[str]], Path],
    texts: list[str],
) -> None:
    """In a folder that holds the checkpoint and the prompts that it names."""
    shutil.copytree(checkpoint("generic"), pytester.path / "checkpoints" / "my-model")
    shutil.copy(prompt_file(texts), pytester.path / "prompts.jsonl")
    (pytester.path / "script.py").write_text(SCRIPT)
    runpy.run_path("script.py")
    assert re.match(r"(PASS|FAIL) margin_above: ", capsys.readouterr().out)
