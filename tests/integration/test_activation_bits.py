"""Activations rounded as a model runs, and captured states on any grid: by flag, ini and script."""

import json
import random
import re
import shlex
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_injectivity import Audit, AuditConfig, Grid, OptionError, sweep_lengths
from pytest_injectivity.geometry.equal_rows import EqualRows
from pytest_injectivity.geometry.rounded_rows import quantize
from pytest_injectivity.models import loading
from pytest_injectivity.models.calibration import calibrate
from pytest_injectivity.models.checkpoint import Checkpoint
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.quantization.grid import Rounded
from pytest_injectivity.results.verdict import Status
from pytest_injectivity.states.capture import capture
from pytest_injectivity.testing import plant_equal_embeddings, tiny_decoder
from tests.audits import Witness, audit_of, few_noise_prompts
from tests.integration.conftest import Run
from tests.integration.support import output, reproduce_lines, said

GATE = "def test_gate(injx):\n    injx.assert_no_collisions('all')\n"
RED = "def test_gate(injx):\n    injx.assert_margin_above('norm', 1e9)\n"
GRIDS = ["8", "8 asymmetric", "8 per-token", "6 per-channel clip=99.9"]


def _prompts(count: int = 30, shortest: int = 3, seed: int = 0) -> list[list[int]]:
    drawn = random.Random(seed)  # noqa: S311 - a few prompts
    lengths = [drawn.randint(shortest, shortest + 9) for _ in range(count)]
    return [[drawn.randrange(64) for _ in range(length)] for length in lengths]


def _audit(folder: Path, grid: Any, ids: Any = None, **config: Any) -> Audit:
    decoder = config.pop("decoder", None) or tiny_decoder("llama")
    return audit_of(folder, decoder, ids or _prompts(), activation_bits=grid, **config)


@pytest.fixture(autouse=True)
def _small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    few_noise_prompts(monkeypatch, 3)


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
        """There is no float64 copy: the noise floor leaves it out, the diagnosis says so."""
        result = audited(
            GATE, "--injx-activation-bits=8", model="planted", prompts=["a x", "a y", "b", "cc"]
        )
        assert 1 == result.ret
        assert "1 collision" in output(result)
        why = "would be another function, as its activations are rounded to 8 bits as it runs"
        assert re.search(f"not diagnosed: a float64 copy of .* {why}", said(result))
        assert f"{why}: the noise floor leaves the distance to float64 out" in said(result)
        assert "float64 error nan" in said(result)

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


class TestStates:
    """What an audit captures, and where its scales come from."""

    @pytest.mark.parametrize("grid", GRIDS)
    def test_rows_are_those_of_the_model_that_rounds(self, tmp_path: Path, grid: str) -> None:
        """Calibrated on all prompts where they are fewer than 64."""
        audit, decoder = _audit(tmp_path, grid), tiny_decoder("llama")
        rounding = calibrate(decoder, audit.prompts.ids, Grid.parse(grid))
        expected = capture(decoder.rounded(rounding), audit.prompts.ids, [1, 2, "norm"]).rows
        plain = capture(decoder, audit.prompts.ids, [1, 2, "norm"]).rows
        assert [1, 2, "norm"] == list(expected)
        for layer, rows in expected.items():
            assert rows.equal(audit.states(layer))
            assert not rows.equal(plain[layer])

    @pytest.mark.parametrize(
        ("grid", "size"), [("8", 64), ("8 calibrated=10", 10), ("8 calibrated=1000", 80)]
    )
    def test_scales_come_from_a_sample_by_hash(self, tmp_path: Path, grid: str, size: int) -> None:
        """As many prompts as the grid says, else 64; the summary has their number and hash."""
        audit = _audit(tmp_path, grid, _prompts(80, shortest=2))
        sample = audit.prompts.subset(size)
        assert Rounded(grid, size, sample.hash) == audit.run_summary().activations
        found, expected = (
            audit.decoder.rounding,
            calibrate(audit.target.unrounded, sample.ids, Grid(8)),
        )
        assert expected.steps.tolist() == found.steps.tolist()

    def test_the_order_of_the_prompts_does_not_matter(self, tmp_path: Path) -> None:
        """Neither to the scales nor to a row."""
        ids = _prompts(30)
        one = _audit(tmp_path / "one", "6 calibrated=10", ids)
        other = _audit(tmp_path / "other", "6 calibrated=10", ids[::-1])
        assert one.states("norm").equal(other.states("norm").flip(0))
        assert one.layer_summary("norm") == other.layer_summary("norm")

    def test_fewer_bits_move_states_farther(self, tmp_path: Path) -> None:
        """From full precision, at every layer."""
        plain = _audit(tmp_path / "plain", None)
        moved = {}
        for bits in (16, 8, 4, 2):
            audit = _audit(tmp_path / str(bits), bits)
            moved[bits] = [
                float((audit.states(layer) - plain.states(layer)).norm()) for layer in audit.layers
            ]
        for finer, coarser in ((16, 8), (8, 4), (4, 2)):
            assert all(a < b for a, b in zip(moved[finer], moved[coarser], strict=True))

    def test_the_tokenizer_and_the_facts_need_no_scales(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The scales need the prompts, and the prompts need the tokenizer and the facts."""
        monkeypatch.setattr("pytest_injectivity.models.calibration.calibrate", pytest.fail)
        audit = _audit(tmp_path, 8)
        assert "8" == audit.facts.activations
        assert audit.tokenizer is None
        assert "rounded to 8 bits" in audit.measurements.no_float64()


class TestTheStore:
    """Every grid and every calibration has rows and numbers of its own."""

    def test_another_grid_reads_no_rows(self, tmp_path: Path) -> None:
        """Nor does the plain model; the same grid reads all and loads no weights."""
        first = {grid: _audit(tmp_path, grid) for grid in (None, "8", "8 per-token")}
        summaries = {grid: one.layer_summary(2) for grid, one in first.items()}
        rows = {grid: one.states(2) for grid, one in first.items()}
        assert 3 == len(rows)
        for grid, one in first.items():
            assert one.run_summary().numbers.startswith("computed")
            others = [rows[other] for other in rows if other != grid]
            assert not any(rows[grid].equal(other) for other in others)
            again = _audit(tmp_path, grid)
            assert summaries[grid] == again.layer_summary(2)
            assert rows[grid].equal(again.states(2))
            assert "from the store" == again.run_summary().numbers
            assert not again.target.loaded

    def test_scales_are_kept_as_well(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A layer more needs the weights, and no calibration."""
        _audit(tmp_path, 8).states(1)
        monkeypatch.setattr("pytest_injectivity.models.calibration.calibrate", pytest.fail)
        assert _audit(tmp_path, 8).states("norm").isfinite().all()

    def test_what_needs_no_prompt_has_the_calibration_in_its_key(self, tmp_path: Path) -> None:
        """Of static scales only: each token's own know no prompt set."""

        def folders(grid: str | None) -> set[str]:
            found = set()
            for seed in (1, 2):
                audit = _audit(tmp_path, grid, _prompts(seed=seed))
                found.add(audit.target.kept.of_model(audit.target.rounded).folder.name)
            return found

        plain, static, dynamic = folders(None), folders("8"), folders("8 per-token")
        assert (1, 2, 1) == (len(plain), len(static), len(dynamic))
        assert 4 == len(plain | static | dynamic)

    def test_one_step_tables_are_of_the_model_that_rounds(self, tmp_path: Path) -> None:
        """At 2 bits tokens collide that were apart: what the plain model found is not read."""
        assert Status.PASS is _audit(tmp_path, None).check_one_step_distinct(1).status
        assert Status.FAIL is _audit(tmp_path, 2).check_one_step_distinct(1).status
        assert Status.PASS is _audit(tmp_path, None).check_one_step_distinct(1).status


class TestInversion:
    """The same model inverts its own states, or says why not."""

    @pytest.mark.parametrize("grid", GRIDS)
    def test_fine_grids_are_inverted(self, tmp_path: Path, grid: str) -> None:
        """Every prompt of a layer, by a noise floor that was measured on the model that rounds."""
        audit = _audit(tmp_path, grid, _prompts(12, shortest=8))
        layer = (1, 2, "norm", 2)[GRIDS.index(grid)]
        audit.assert_sipit_recovers(layer, prompts=6, tokens=8)

    def test_coarse_grids_fail_by_ambiguity(self, tmp_path: Path) -> None:
        """At 2 bits of a layer with a sink most tokens are the same state: nothing is guessed."""
        decoder = tiny_decoder("gpt2")
        decoder.parts.base.wte.weight[5] *= 40
        ids = [[5, *prompt] for prompt in _prompts(12, shortest=8)]
        verdict = _audit(tmp_path, 2, ids, decoder=decoder).check_sipit_recovers(
            1, prompts=6, tokens=8
        )
        assert Status.FAIL is verdict.status
        assert "ambiguous (two candidates verify)" in verdict.text

    @pytest.mark.parametrize("policy", ["lm-order", "gradient"])
    def test_every_policy_works(self, tmp_path: Path, policy: str) -> None:
        """The gradient's too: it passes the rounding."""
        audit = _audit(tmp_path, "8", _prompts(8, shortest=4))
        audit.assert_sipit_recovers(1, prompts=2, tokens=4, policy=policy, certify=1)

    def test_equal_embeddings_collide_on_every_grid(self, tmp_path: Path) -> None:
        """In the model, in one-step tables and among prompts."""
        decoder = plant_equal_embeddings(tiny_decoder("gpt2"), 3, 7)
        ids = [[1, 2, 3], [1, 2, 7], [4, 4], [9]]
        audit = _audit(tmp_path, "8 per-token", ids, decoder=decoder)
        verdict = audit.check_no_collisions("all")
        assert {1} == {reason.value for reason in verdict.reasons}
        assert Status.FAIL is audit.check_one_step_distinct("all").status


def test_a_sweep_calibrates_at_every_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One model serves all lengths; each has the scales of its own prompts, as audited alone."""
    loads: list[str] = []
    load = loading.load

    def counted(checkpoint: Checkpoint, **named: Any) -> Decoder:
        loads.append(checkpoint.source)
        return load(checkpoint, **named)

    monkeypatch.setattr(loading, "load", counted)
    ids = [row[:8] for row in _prompts(8, shortest=8)]
    config = _audit(tmp_path, 4, ids, layers="1", no_cache=True).config
    points = sweep_lengths(config, [2, 4])
    assert 1 == len(loads)
    for length, point in zip((2, 4), points, strict=True):
        parts = [row[at : at + length] for row in ids for at in range(0, 8, length)]
        alone = _audit(tmp_path / str(length), 4, _subset(parts, point.n))
        assert point.prompt_hash == alone.prompts.hash
        assert point.margin == alone.geometry(1).margin(q=0.0)


def _subset(ids: list[list[int]], n: int) -> list[list[int]]:
    from pytest_injectivity.prompts.promptset import PromptSet

    distinct = tuple(dict.fromkeys(map(tuple, ids)))
    kept = PromptSet("p", distinct, None, special_tokens=False).subset(n).ids
    return [list(row) for row in kept]


class TestCapturedStates:
    """Every ``bits=`` takes a text."""

    def test_a_text_that_is_a_number_is_the_number(self, tmp_path: Path) -> None:
        """One geometry, one summary, one row of the report."""
        audit = _audit(tmp_path, None)
        assert audit.geometry(1, bits=4) is audit.geometry(1, bits="4 bits symmetric")
        assert audit.layer_summary(1, 4) == audit.layer_summary(1, "4")
        assert (4, "the set itself") == (
            audit.layer_summary(1, "4").bits,
            audit.layer_summary(1, "4").scale,
        )
        assert ((1, 4),) == tuple(one for one in audit.measurements.measured if one[1] is not None)

    @pytest.mark.parametrize("grid", ["3 asymmetric", "3 per-token", "3 per-channel clip=90"])
    def test_numbers_are_those_of_the_grid(self, tmp_path: Path, grid: str) -> None:
        """Collisions on what is stored, margins on the values; twice from the store."""
        expected = None
        for _ in range(2):
            audit = _audit(tmp_path, None)
            rounded = quantize(audit.states(2), grid)
            found = audit.layer_summary(2, grid)
            assert (grid, EqualRows.of(rounded.stored).pairs) == (found.bits, found.collisions)
            assert float(torch.pdist(rounded.rows).min()) == pytest.approx(found.margin)
            assert expected in (None, found)
            expected = found

    def test_a_calibrated_grid_has_the_scale_of_its_sample(self, tmp_path: Path) -> None:
        """Whatever the order of the prompts."""
        audit = _audit(tmp_path, None)
        sample = set(audit.prompts.subset(5).hashes)
        known = [one in sample for one in audit.prompts.hashes]
        rows = audit.states(1)
        found = audit.geometry(1, bits="4 calibrated=5")
        assert quantize(rows, "4", rows[known]).rows.equal(found.rows)
        assert not audit.geometry(1, bits=4).rows.equal(found.rows)
        by_hand = audit.geometry(1).quantized("4", rows[known])
        assert found.margin() == by_hand.margin()
        assert audit.geometry(1).quantized(4).margin() == audit.geometry(1, bits=4).margin()

    def test_failures_name_the_grid_and_its_scale(self, tmp_path: Path) -> None:
        """As evidence of collisions, and in the name of a quantity."""
        audit = _audit(tmp_path, None)
        audit_text = audit.check_no_collisions(1, bits="2 asymmetric per-channel", eps=1e9).text
        assert (
            "states rounded to 2 bits asymmetric per-channel, scale: the set itself; equal codes"
            " collide; noise floor before rounding"
        ) in audit_text
        tokens = audit.check_no_collisions(1, bits="2 per-token", eps=1e9).text
        assert "2 bits per-token, scale: each token's own; equal codes of one scale coll" in tokens
        plain = audit.check_no_collisions(1, bits=2, eps=1e9).text
        assert "states rounded to 2 bits; equal codes collide; noise floor" in plain
        for check in (audit.check_margin_above, audit.check_colipschitz_above):
            verdict = check(1, 1e9, bits="4 calibrated=5")
            assert "(q=0.01, 4 bits calibrated=5)" in verdict.reasons[0].quantity
            assert "scale of the grid: the 5 prompts of smallest hash" in verdict.text
            assert "scale of the grid" not in check(1, 1e9, bits=4).text

    @pytest.mark.parametrize("bits", ["4 per-row", 1])
    def test_what_is_no_grid_is_refused_by_every_check(self, tmp_path: Path, bits: Any) -> None:
        """Before anything is measured."""
        audit = _audit(tmp_path, None)
        for check in (
            audit.check_no_collisions,
            partial(audit.check_margin_above, margin=0.1),
            partial(audit.check_colipschitz_above, alpha=0.1),
            audit.geometry,
            audit.layer_summary,
        ):
            with pytest.raises(OptionError, match="give a whole number of bits from 2 to 32"):
                check(1, bits=bits)
        assert () == audit.measurements.measured

    def test_states_of_a_model_that_rounds_may_be_rounded_again(self, tmp_path: Path) -> None:
        """To its own grid, nothing moves where the scale is the layer's own largest."""
        audit = _audit(tmp_path, "6 per-token")
        rows = audit.states(1)
        again = audit.geometry(1, bits="6 per-token").rows
        torch.testing.assert_close(rows.double(), again, rtol=1e-6, atol=0)


def test_what_is_missing_is_announced_once(tmp_path: Path) -> None:
    """That the noise floor has no float64 part."""
    witness = Witness()
    audit = _audit(tmp_path, 8, watcher=witness)
    audit.noise(1)
    (told,) = [one for one in witness.sentences if "float64" in one]
    assert "as its activations are rounded to 8 bits as it runs: the noise floor leaves" in told


def test_a_config_reads_what_people_write(tmp_path: Path) -> None:
    """A number, a text or a grid; the command line says the canonical text."""
    for value in (4, "4", "4 bits per-layer", Grid(4)):
        config = AuditConfig(activation_bits=value)
        assert Grid(4) == config.activation_bits
        assert "--injx-activation-bits=4" == config.command_line()
    config = AuditConfig(activation_bits="4 clip=99.9 asymmetric")
    assert "'--injx-activation-bits=4 asymmetric clip=99.9'" == config.command_line()
    for value in (1, True, 4.5, "no", []):
        with pytest.raises(OptionError, match="--injx-activation-bits: "):
            AuditConfig(activation_bits=value)
    assert tmp_path
