"""Activations rounded as a model runs, by flag and ini: what a run says of it."""

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.audits import small_samples
from tests.integration.conftest import Run
from tests.integration.support import output, reproduce_lines, said

GATE = "def test_gate(injx):\n    injx.assert_no_collisions('all')\n"
RED = "def test_gate(injx):\n    injx.assert_margin_above('norm', 1e9)\n"


@pytest.fixture(autouse=True)
def _small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    small_samples(monkeypatch)


class TestARun:
    """What pytest is told, and what it says."""

    def test_header_summary_and_report_say_how(self, audited: Run, tmp_path: Path) -> None:
        """The flag, a line on the grid and its scales, the assumption, and plain data in JSON."""
        report = tmp_path / "report.json"
        flag = "--injx-activation-bits=8 asymmetric"
        result = audited(GATE, flag, f"--injx-report=json:{report}")
        assert 0 == result.ret, output(result)
        assert f"injectivity: --injx-model={_model(result)}" in output(result)
        assert shlex.quote(flag) in output(result).partition("collected")[0]
        run = json.loads(report.read_text())["run"]
        assert {"grid", "prompts", "prompt_hash"} == set(run["activations"])
        assert ("8 asymmetric", 12) == (run["activations"]["grid"], run["activations"]["prompts"])
        assert run["prompt_hash"] == run["activations"]["prompt_hash"]
        assert (
            "activations every block's output rounded to 8 bits asymmetric as it runs, scales of 12"
            f" prompts [{run['prompt_hash'][:12]}] in full precision"
        ) in said(result)
        assert "activations ROUNDED to 8 bits asymmetric" in said(result)
        (layer, *_) = json.loads(report.read_text())["layers"]
        assert (None, None) == (layer["bits"], layer["scale"])

    def test_a_plain_run_says_nothing_of_it(self, audited: Run, tmp_path: Path) -> None:
        """Neither in the summary nor as a number of the report."""
        report = tmp_path / "report.json"
        result = audited(GATE, f"--injx-report=json:{report}")
        assert json.loads(report.read_text())["run"]["activations"] is None
        assert "activations" not in output(result)

    def test_a_failure_names_the_grid_and_is_reproduced(
        self, audited: Run, pytester: pytest.Pytester
    ) -> None:
        """By the command it prints: the same number again."""
        first = audited(RED, "--injx-activation-bits=4 per-channel clip=99.9")
        assert "activations rounded to 4 bits per-channel clip=99.9)" in output(first)
        (command,) = reproduce_lines(first)
        again = pytester.runpytest_inprocess(*shlex.split(command)[1:])
        again.assert_outcomes(failed=1)
        numbers = [
            re.search(r"margin_above norm: (.*), wants", output(one)) for one in (first, again)
        ]
        assert numbers[0] is not None
        assert numbers[1] is not None
        assert numbers[0][1] == numbers[1][1]

    def test_an_ini_gives_it_too(self, audited: Run, pytester: pytest.Pytester) -> None:
        """And a flag wins over it."""
        pytester.makeini("[pytest]\ninjx_activation_bits = 4 per-token")
        assert "4 bits per-token as it runs, each token's scale its own" in said(audited(GATE))
        assert "8 bits as it runs" in said(audited(GATE, "--injx-activation-bits=8"))

    @pytest.mark.parametrize("text", ["", "8 per-row", "8 clip=0.999"])
    def test_what_is_no_grid_is_wrong_use(self, audited: Run, text: str) -> None:
        """Exit status 4, with the flag and the grammar, before anything is loaded."""
        result = audited(GATE, f"--injx-activation-bits={text}")
        assert pytest.ExitCode.USAGE_ERROR == result.ret
        named = "clip=0.999" if "clip" in text else "bits="
        assert f"--injx-activation-bits: {named}" in said(result)
        assert "give a whole number of bits from 2 to 32, alone or in a text" in said(result)

    def test_collisions_are_not_diagnosed(self, audited: Run) -> None:
        """There is no float64 copy: no error is measured, the diagnosis says so."""
        result = audited(
            GATE, "--injx-activation-bits=8", model="planted", prompts=["a x", "a y", "b", "cc"]
        )
        assert 1 == result.ret
        assert "1 collision" in output(result)
        why = "would be another function, as its activations are rounded to 8 bits as it runs"
        assert re.search(f"not diagnosed: a float64 copy of .* {why}", said(result))
        assert f"{why}: the error of the states is not measured" in said(result)
        assert "error not measured" in said(result)

    def test_grids_of_captured_states_have_their_columns(self, audited: Run) -> None:
        """Finest first, named in full; a line says where scales come from that are not the set's."""
        result = audited("""
            def test_bits(injx):
                for bits in (4, "4", "8 bits", "4 asymmetric per-token", "4 calibrated=5"):
                    injx.check_no_collisions("all", bits=bits)
                injx.check_no_collisions("all")
        """)
        table = output(result).partition("activations rounded:")[2]
        (heading,) = re.findall(r"^layer +(8.*)$", table, re.MULTILINE)
        assert "8 bits 4 bits 4 bits asymmetric per-token 4 bits calibrated=5" == " ".join(
            heading.split()
        )
        assert (
            "scales: 4 bits asymmetric per-token each token's own; 4 bits calibrated=5 the 5 prompts"
            " of smallest hash"
        ) in said(result)


def _model(result: pytest.RunResult) -> str:
    (named,) = re.findall(r"^injectivity: --injx-model=(\S+)", output(result), re.MULTILINE)
    return str(named)
