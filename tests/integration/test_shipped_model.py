"""The suite that teams copy, on the model this package ships: no flag, no network, nothing to fetch."""

import shutil
import socket
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from pytest_injectivity.testing import (
    byte_tokenizer,
    double_block,
    round_weights,
    save_checkpoint,
    tiny_decoder,
)
from tests.integration.support import output, reproduce_lines, said, table_rows
from tests.quantized import needs

needs_xdist = pytest.mark.skipif(find_spec("xdist") is None, reason="the extra xdist")

_GATE = Path(__file__).parents[2] / "example_suites" / "quantization_gate"


@pytest.fixture
def gate(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A copy of the suite, on a machine without network."""
    for path in _GATE.iterdir():
        if path.is_file():
            shutil.copy(path, pytester.path)

    def refuse(*_: object) -> None:
        raise OSError("this test has no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    return pytester


def test_the_default_is_the_shipped_model(gate: pytest.Pytester) -> None:
    """One file of one's own and no flag: model and prompts are there."""
    gate.makeini("[pytest]\n")
    gate.makepyfile(test_gate="def test_own(injx):\n    assert injx.config.shipped\n")
    result = gate.runpytest_inprocess("test_gate.py")
    result.assert_outcomes(passed=1)
    assert pytest.ExitCode.OK == result.ret


@pytest.mark.slow
def test_the_copied_gate_passes_on_a_few_prompts(gate: pytest.Pytester) -> None:
    """Each layer has its row, and the ladder of bits its table; SipIt is left to the slow test."""
    flags = ("--injx-max-prompts=50", "--injx-layers=2,norm", "--precisions=bfloat16")
    flags += ("-k", "not recover")
    result = gate.runpytest_inprocess(*flags)
    assert pytest.ExitCode.OK == result.ret, output(result)
    rows = table_rows(result)
    assert ["layer02", "norm"] == list(rows)
    assert {"0"} == {cells[1].rstrip("◄") for cells in rows.values()}
    assert "builtin:gpt2-stdlib" in said(result)
    assert "50 of builtin:stdlib" in said(result)
    assert "activations rounded" in output(result)
    assert "bfloat16: margin kept" in said(result)
    assert {"passed"} == result.parseoutcomes().keys() - {"deselected"}


@pytest.mark.slow
def test_the_copied_gate_passes_as_it_is(gate: pytest.Pytester) -> None:
    """`pytest` in a copy of the folder: 1,000 prompts, 20 of 20 recovered, 32, 16, 8 and 4 bits."""
    for kind in ("bnb", "torchao"):
        needs(kind)
    result = gate.runpytest_inprocess()
    assert pytest.ExitCode.OK == result.ret, output(result)
    assert "1000 of builtin:stdlib" in said(result)
    for precision in ("bfloat16", "torchao-int8", "bnb-nf4"):
        assert f"{precision}" in said(result)
        assert f"[{precision}]" not in output(result)  # no failure names it


_AGAINST = (
    *("-k", "states_stay or is_kept or equal or new_collisions"),
    *("--injx-prompts=builtin:random", "--injx-max-prompts=30"),
)


def _deep(folder: Path, bits: int, damaged: int | None = None) -> str:
    """The model "deep" of the other tests in a few bits, one block's scales doubled or not."""
    decoder = tiny_decoder("gpt2", vocab=256, layers=4, tokenizer=byte_tokenizer())
    round_weights(decoder, bits)
    if damaged is not None:
        double_block(decoder, damaged)
    return f"--injx-model={save_checkpoint(decoder, folder / 'child')}"


def test_a_child_is_held_against_its_parent(
    gate: pytest.Pytester, tmp_path: Path, checkpoint: Callable[[str], Path]
) -> None:
    """Two folders and nothing else: green, with a row a layer of what was kept."""
    result = gate.runpytest_inprocess(
        _deep(tmp_path, 8), f"--injx-reference={checkpoint('deep')}", *_AGAINST
    )
    assert pytest.ExitCode.OK == result.ret, output(result)
    assert 5 == result.parseoutcomes()["passed"]
    assert "5 of 5" not in said(result)  # equal rows are counted by a plain assert
    assert "4 of 4 verdicts PASS" in said(result)
    assert "m kept" in said(result)


def test_a_damaged_child_is_red_and_says_where(
    gate: pytest.Pytester, tmp_path: Path, checkpoint: Callable[[str], Path]
) -> None:
    """The first line names the block; the command beside it runs."""
    result = gate.runpytest_inprocess(
        _deep(tmp_path, 8, damaged=3), f"--injx-reference={checkpoint('deep')}", *_AGAINST
    )
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    assert "FAIL state_drift_below layer03: " in output(result)
    assert "PASS at layer00, layer01, layer02" in output(result)
    command = reproduce_lines(result)[0]
    assert "test_states_stay_near_the_parents[model]" in command
    assert "--injx-reference=" in command


def test_without_a_parent_nothing_is_held_against_one(
    gate: pytest.Pytester, checkpoint: Callable[[str], Path]
) -> None:
    """A model of one's own: skipped, with what to give."""
    result = gate.runpytest_inprocess(
        f"--injx-model={checkpoint('deep')}", "-rs", *_AGAINST, "test_against_parent.py"
    )
    assert 5 == result.parseoutcomes()["skipped"]
    assert "no parent: name it by --injx-reference=PARENT" in said(result)


@pytest.mark.parametrize(
    "workers",
    [
        pytest.param((), id="alone"),
        pytest.param(("-n", "2"), id="workers", marks=[needs_xdist, pytest.mark.slow]),
    ],
)
def test_a_precision_is_held_against_the_model_itself(
    gate: pytest.Pytester, checkpoint: Callable[[str], Path], workers: tuple[str, ...]
) -> None:
    """16 bits are asked all that 32 are, and one line says what was kept, once with workers too."""
    result = gate.runpytest_inprocess(
        f"--injx-model={checkpoint('deep')}",
        "--precisions=bfloat16",
        "-rs",
        *_AGAINST,
        *("-k", "states_stay or next_tokens or is_kept", "-o", "gate_top1=any 0.9"),
        *workers,
        "test_against_parent.py",
    )
    assert pytest.ExitCode.OK == result.ret, output(result)
    assert 4 == result.parseoutcomes()["passed"]
    assert "skipped" not in result.parseoutcomes()
    assert 1 == said(result).count("bfloat16: margin kept")
    assert 1 == said(result).count(", KL ")
    assert "4 of 4 verdicts PASS" in said(result)
