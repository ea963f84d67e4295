"""The suite that teams copy, on the model this package ships: no flag, no network, nothing to fetch."""

import shutil
import socket
from pathlib import Path

import pytest

from tests.integration.support import output, said, table_rows

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
    result = gate.runpytest_inprocess()
    result.assert_outcomes(passed=1)
    assert pytest.ExitCode.OK == result.ret


@pytest.mark.slow
def test_the_copied_gate_passes_on_a_few_prompts(gate: pytest.Pytester) -> None:
    """Each layer has its row, and the ladder of bits its table; SipIt is left to the slow test."""
    flags = ("--injx-max-prompts=50", "--injx-layers=2,norm", "-k", "not recovered")
    result = gate.runpytest_inprocess(*flags)
    assert pytest.ExitCode.OK == result.ret, output(result)
    rows = table_rows(result)
    assert ["layer02", "norm"] == list(rows)
    assert {"0"} == {cells[1].rstrip("◄") for cells in rows.values()}
    assert "builtin:gpt2-stdlib" in said(result)
    assert "50 of builtin:stdlib" in said(result)
    assert "activations rounded" in output(result)


@pytest.mark.slow
def test_the_copied_gate_passes_as_it_is(gate: pytest.Pytester) -> None:
    """`pytest` in a copy of the folder: 1,000 prompts, 20 of 20 recovered at three layers."""
    result = gate.runpytest_inprocess()
    assert pytest.ExitCode.OK == result.ret, output(result)
    assert "1000 of builtin:stdlib" in said(result)
